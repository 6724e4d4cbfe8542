"""How the server fared since the migration began: deadlocks, rollbacks, errors in its log."""

import re
from collections import Counter
from collections.abc import Iterator

from control.stage import Ground
from control.verification import baseline
from control.verification.baseline import Baseline
from control.verification.check import Check
from sql.postgres import aftermath
from sql.postgres.aftermath import Log
from sql.postgres.connection import Connection

#: Bytes of the log that are read at most.
MOST = 16 * 2**20

_ENTRY = re.compile(r"\b(?P<level>ERROR|FATAL|PANIC):  (?P<said>.*)")
_OURS = re.compile(r"\bSTATEMENT:  /\* tenantry ")
#: In other languages the server calls an error otherwise.
_ENGLISH = ("en", "C", "POSIX")


def checks(ground: Ground) -> Iterator[Check]:
    """Everything that the server counted or logged since."""
    began = baseline.recall(ground)
    if began is None:
        told = "nothing was kept when the migration began"
        yield Check("server: deadlocks", None, told, "aftermath.counters")
        yield Check("server: rollbacks", None, told, "aftermath.counters")
        yield Check("server: errors in its log", None, told, "aftermath.log")
        return
    yield from _counted(ground, began)
    yield _logged(ground, began)


def _counted(ground: Ground, began: Baseline) -> Iterator[Check]:
    now, then = aftermath.counters(ground.connection), began.counters
    since = f"since {then.at:.19}"
    if now.reset != then.reset:
        told = f"the server forgot its counts {since}: a reset, or a crash"
        yield Check("server: deadlocks", None, told, "aftermath.counters")
        yield Check("server: rollbacks", None, told, "aftermath.counters")
        return
    deadlocks, limit = now.deadlocks - then.deadlocks, ground.plan.verify.max_deadlocks
    told = f"{deadlocks} {since}"
    if deadlocks > limit:
        told += (
            f", and the limit is {limit}; the server's log shows who: where the application deadlocks with "
            "itself, set `max_deadlocks` in [verify]"
        )
    yield Check("server: deadlocks", deadlocks <= limit, told, "aftermath.counters")
    rollbacks, commits = now.rollbacks - then.rollbacks, now.commits - then.commits
    share = _share(rollbacks, commits)
    before = _share(then.rollbacks, then.commits)
    told = f"{rollbacks} {since}, {share} of all transactions ({before} before); our own tries are among them"
    yield Check("server: rollbacks", None, told, "aftermath.counters")


def _share(rollbacks: int, commits: int) -> str:
    return f"{rollbacks / max(1, rollbacks + commits):.1%}"


def _logged(ground: Ground, began: Baseline) -> Check:
    name = "server: errors in its log"
    if began.log is None:
        told = (
            "can't be read: the server collects none, or this role isn't pg_monitor and pg_read_server_files"
        )
        return Check(name, None, told, "aftermath.log")
    if not began.log.language.startswith(_ENGLISH):
        return Check(name, None, f"not read: it is written in {began.log.language}", "aftermath.log")
    found = _read(ground.connection, began.log, began.counters.at)
    if found is None:
        return Check(name, None, "this role may not read it any more", "aftermath.log_part")
    said, whole = found
    limit = ground.plan.verify.max_log_errors
    told = f"{said.total()} since {began.counters.at:.19}, without ours, of all databases of the server"
    if said:
        told += ": " + "; ".join(f"{count} times {text}" for text, count in said.most_common(5))
    if not whole:
        told += f"; only the first {MOST >> 20} MB were read"
    return Check(name, None if limit is None else said.total() <= limit, told, "aftermath.log_part")


def _read(connection: Connection, log: Log, since: str) -> tuple[Counter[str], bool] | None:
    read = aftermath.log_since(connection, log, since, MOST)
    return None if read is None else (errors(read.decode(errors="replace")), len(read) < MOST)


def errors(log: str) -> Counter[str]:
    """What a log in PostgreSQL's plain format calls an error, how often; without those of our own statements.

    The lines of one report stand together, its statement below its message.
    """
    said: Counter[str] = Counter()
    last: str | None = None
    for line in log.splitlines():
        entry = _ENTRY.search(line)
        if entry is not None:
            last = f"{entry['level']}: {entry['said']}"[:120]
            said[last] += 1
        elif last is not None and _OURS.search(line):
            said[last] -= 1
            last = None
        elif "LOG:  " in line:
            last = None
    return +said
