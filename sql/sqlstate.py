"""What an SQLSTATE means, in words: five characters say little to whoever is woken by them."""

import re

from psycopg import errors

#: Where the condition's own name would mislead whoever looks at a batch.
_HERE = {
    "": "no outcome: its worker or its backend ended",
    "08006": "the connection was lost",
    "55P03": "a lock was not free in time",
    "57014": "out of time",
    "57P01": "its backend was terminated",
    "P0001": "raised by a trigger or a function",
}

#: PostgreSQL's manual, appendix A: classes that a batch can meet, for codes that have no name of their own.
_CLASSES = {
    "08": "connection exception",
    "0A": "feature not supported",
    "21": "cardinality violation",
    "22": "data exception",
    "23": "integrity constraint violation",
    "25": "invalid transaction state",
    "28": "invalid authorization",
    "2D": "invalid transaction termination",
    "38": "external routine exception",
    "39": "external routine invocation exception",
    "40": "transaction rollback",
    "42": "syntax error or access rule violation",
    "44": "WITH CHECK OPTION violation",
    "53": "insufficient resources",
    "54": "program limit exceeded",
    "55": "object not in prerequisite state",
    "57": "operator intervention",
    "58": "system error",
    "HV": "foreign data wrapper error",
    "P0": "PL/pgSQL error",
    "XX": "internal error",
}

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


def meaning(sqlstate: str | None) -> str:
    """Say what a code means; None is a failure that nobody was left to tell the code of."""
    code = sqlstate or ""
    if code in _HERE:
        return _HERE[code]
    try:
        return _WORD.sub(" ", errors.lookup(code).__name__).lower().rstrip("_")
    except KeyError:
        # T0001 and its like: a trigger's own, told by its message.
        return _CLASSES.get(code[:2], "a code of its own, raised by a trigger or a function")
