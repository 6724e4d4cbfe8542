"""What becomes of a batch that failed, by its SQLSTATE (design, section 2), in either database."""

from enum import Enum

#: Classes of SQLSTATE that pass by themselves: connection, read-only after a failover, login, rollback by the
#: server, resources, state of an object, shutdown, disk. All others are the data's: a trigger may raise any
#: code of its own, and a batch that waited for one would be tried for ever without a word.
_PASSING = frozenset({"08", "25", "28", "40", "53", "55", "57", "58"})


class Failure(Enum):
    """What becomes of a batch that failed."""

    LOCKED = "locked"
    DATA = "data"
    TIMEOUT = "timeout"
    WAIT = "wait"
    REFUSED = "refused"
    """Whatever its rows are, which the server has to be asked for (`worker.refused`)."""


def sorted_by(sqlstate: str | None) -> Failure:
    """Sort a failure by its SQLSTATE; None is one that the client had."""
    if sqlstate == "55P03":
        return Failure.LOCKED
    if sqlstate == "57014":
        return Failure.TIMEOUT
    if not sqlstate or sqlstate[:2] in _PASSING:
        return Failure.WAIT
    return Failure.DATA
