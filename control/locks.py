"""The one place where DDL takes a lock.

A strong lock that waits makes everybody behind it wait too, so it is tried briefly and often:

* First `SHARE UPDATE EXCLUSIVE` for up to 3 s. It makes no reader or writer wait, and past `deadlock_timeout`
  it cancels an autovacuum, which a short `lock_timeout` alone never does (6 of 6 attempts failed so).
* Then the strong lock, for at most 50 ms that double to 500 ms from attempt to attempt. The first is short
  because the order of locks can't suit every writer: dropping a foreign key locks the child, then the parent,
  while a cascading delete comes from the parent; they wait for each other until our time is over, and that is
  the application's stall.
* `statement_timeout` bounds all this waiting together, for `lock_timeout` counts for each lock: one ADD
  COLUMN on 6 partitions stalled writers for 2.4 s, and three readers, of a partition each, for 1.3 s.
* Then the statement, which waits for nobody any more. Its work has a bound of its own, which grows from
  attempt to attempt: on 1,000 partitions ADD COLUMN never got through in 1.5 s, with nobody in its way.
* ACCESS EXCLUSIVE alone travels to the standbys, by the WAL, where no `lock_timeout` holds: a 2 ms ALTER
  stalled a reader there for 29.5 s behind a long one, and killed the long one. So the plan's standbys are
  looked at before (`control.standbys`): who reads the table there for long is in the way like anybody else.
* Nobody's session is ended, unless the plan says after how long (`[locks] terminate_after`). Then one that
  was named at an attempt before, and is still in the way, is ended before the next; never one on a standby.

Who blocks is looked up differently for the two kinds of waiting. A brief attempt asks *after* it failed, on
its own connection, who holds a conflicting lock: whoever was in the way for longer than the attempt is still
there, and no second connection is needed on a server that may have none to spare. CONCURRENTLY and VALIDATE
wait without limit, so a second connection watches them and tells while they wait.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import conninfo, errors, sql
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from control import standbys
from control.stage import How, Step
from sql.errors import CatalogError, LockNotGotError, StatementTooSlowError
from sql.postgres.connection import Connection
from sql.postgres.locks import STATEMENTS, Blocker

Notify = Callable[[str], None]

#: Which locks each of the modes that DDL takes stands back for, as PostgreSQL's manual has it (table 13.2).
_CONFLICTS = {
    "SHARE UPDATE EXCLUSIVE": (
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ),
    "SHARE": (
        "ROW EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ),
    "SHARE ROW EXCLUSIVE": (
        "ROW EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ),
    "ACCESS EXCLUSIVE": (
        "ACCESS SHARE",
        "ROW SHARE",
        "ROW EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ),
}

_MODES = {mode: sql.SQL(mode) for mode in _CONFLICTS}

#: The mode that is announced, and the one that standbys take too.
_GENTLE, STRONGEST = "SHARE UPDATE EXCLUSIVE", "ACCESS EXCLUSIVE"

#: Seconds between attempts: 1, 2, 4 … 60, each with up to a second of jitter.
BACK_OFF = wait_exponential_jitter(initial=1, max=60)

_ANNOUNCE_MS = 3_000
_FIRST_MS = 50
_LONGEST_MS = 500
#: What a statement may take once it has its locks, at the first attempt and at most. Measured: 2 to 12 ms; on
#: 1,000 partitions 1.6 to 8.8 s.
_WORK_MS, _LONGEST_WORK_MS = 500, 16_000

#: A failed CONCURRENTLY leaves an index to drop and a table to read again: no 30 times (pgroll's number).
_ONLINE_ATTEMPTS = 5

#: How often, in seconds, the watcher of an online step asks whom it waits for.
_WATCH_EVERY = 0.5

#: Seconds between two looks whether the run may go on, while it waits for its next attempt.
_ASK_EVERY = 0.5

_NO_LOCK = (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled)


def _say_nothing(_line: str) -> None:
    """Nobody keeps an audit."""


def _no_objection() -> None:
    """Nobody pauses or cancels."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How an operator wants locks to be taken.

    `standbys` are their addresses, `env:NAME` too; a session in the way whose transaction is older than
    `terminate_after` seconds is ended, none where it is None, and `record` keeps that. `go_on` is asked
    before each attempt and in between: it waits, or raises, and what it raises ends the taking.
    """

    standbys: tuple[str, ...] = ()
    terminate_after: float | None = None
    record: Notify = _say_nothing
    go_on: Callable[[], object] = _no_objection


@dataclass(frozen=True, slots=True)
class Taken:
    """What taking a step came to, for the audit; times in seconds.

    `waited` is how long it waited for its lock: until the attempt that got it, with the announcing; an online
    one for as long as sessions were seen in its way, twice a second. `took` is the statement itself, for
    a brief one all of it under its lock. `repaired`: what an earlier try left was dropped first.
    """

    attempts: int
    waited: float
    took: float
    repaired: bool = False


@dataclass(slots=True)
class _Seen:
    """Who was in the way of an online step, the last ones, and for how long anybody was."""

    blockers: list[Blocker] = field(default_factory=list)
    seconds: float = 0.0


class _NoLockError(Exception):
    """One attempt that ended without its lock; `pids` are the server's own sessions among the blockers."""

    def __init__(self, blockers: Sequence[Blocker | str]) -> None:
        self.blockers = "; ".join(map(str, blockers))
        self.pids = {one.pid for one in blockers if isinstance(one, Blocker) and one.pid is not None}


class _TooSlowError(Exception):
    """One attempt whose statement had its locks, and took longer than it may."""

    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds


def take(
    connection: Connection, step: Step, *, notify: Notify, attempts: int = 30, rules: Rules | None = None
) -> Taken:
    """Run a step's statement in the way its lock asks for.

    `connection` is in autocommit mode. `notify` is told, in one line, who blocks: before each further attempt
    of a brief step; and for an online one while it waits, then from another thread. Attempts follow each
    other after 1 s, doubling to 60 s, with jitter.

    Raises:
        LockNotGotError: not in so many attempts (an online step: 5 at most).
        StatementTooSlowError: it had its lock, and took too long in each of them.
        CatalogError: the server refuses the statement for another reason.
    """
    rules = rules or Rules()
    if step.how is How.ONLINE:
        attempts = min(attempts, _ONLINE_ATTEMPTS)
    named: set[int] = set()
    begun = time.monotonic()

    def tell(state: RetryCallState) -> None:
        rules.go_on()  # a statement that the operator's cancel cut short waited for no lock
        failed = state.outcome.exception() if state.outcome else None
        blockers = ""
        if isinstance(failed, _NoLockError):
            blockers = failed.blockers
            named.update(failed.pids)
        attempt = f"attempt {state.attempt_number} of {attempts}"
        why = f"no lock at {attempt}, held by {blockers or 'nobody any more'}"
        if isinstance(failed, _TooSlowError):
            why = f"it had its lock, and took more than {failed.milliseconds:,} ms at {attempt}"
        notify(f"{step.what}: {why}; again in {state.upcoming_sleep:.0f} s")

    retrying = Retrying(
        stop=stop_after_attempt(attempts),
        wait=BACK_OFF,
        sleep=lambda seconds: _rest(seconds, rules),
        retry=retry_if_exception_type((_NoLockError, _TooSlowError)),
        before_sleep=tell,
        reraise=True,
    )
    try:
        for attempt in retrying:
            with attempt:
                rules.go_on()
                _end_named(connection, step, named, notify, rules)
                number = attempt.retry_state.attempt_number
                taken = _attempt(connection, step, number, notify, rules)
    except _NoLockError as last:
        raise LockNotGotError(step.what, attempts, last.blockers) from last.__cause__
    except _TooSlowError as last:
        raise StatementTooSlowError(step.what, last.milliseconds) from last.__cause__
    except (
        psycopg.ProgrammingError,
        psycopg.IntegrityError,
        psycopg.NotSupportedError,
        psycopg.DataError,
    ) as error:
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        raise CatalogError(
            f"{step.what}: the server refuses: {error.diag.message_primary}{detail}"
        ) from error
    # What of the whole time the statement that went through did not take; of an online one's, what it waited.
    before = max(0.0, time.monotonic() - begun - taken.took) if number > 1 or step.how is How.BRIEF else 0.0
    return replace(taken, attempts=number, waited=before + taken.waited)


def _rest(seconds: float, rules: Rules) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _ASK_EVERY))
        rules.go_on()


def _attempt(connection: Connection, step: Step, number: int, notify: Notify, rules: Rules) -> Taken:
    match step.how:
        case How.BRIEF:
            return Taken(number, 0.0, _brief(connection, step, number, rules.standbys))
        case How.ONLINE:
            return _online(connection, step, notify)
        case How.PLAIN:
            begun = time.monotonic()
            with connection.transaction():
                connection.execute(step.statement)
            return Taken(number, 0.0, time.monotonic() - begun)


def _brief(connection: Connection, step: Step, number: int, addresses: Sequence[str]) -> float:
    """Seconds that the statement took, to the end of its transaction."""
    lock_timeout_ms = min(_LONGEST_MS, _FIRST_MS * 2 ** (number - 1))
    work_ms = min(_LONGEST_WORK_MS, _WORK_MS * 2 ** (number - 1))
    tables = sql.SQL(", ").join(step.tables)
    strong = step.lock == STRONGEST
    wanted = _GENTLE
    try:
        with standbys.opened(addresses if strong else ()) as there:
            # Before the gentle lock, which would cancel an autovacuum for nothing; and after it, which may
            # have taken seconds.
            _none_reads(there, step)
            with connection.transaction():
                _limit(connection, _ANNOUNCE_MS, 2 * _ANNOUNCE_MS)
                connection.execute(STATEMENTS.announce.compose(tables=tables))
                _none_reads(there, step)
                wanted = step.lock
                _limit(connection, lock_timeout_ms, lock_timeout_ms)
                if step.first is not None:
                    connection.execute(step.first)
                connection.execute(STATEMENTS.hold.compose(tables=tables, lock=_MODES[step.lock]))
                _limit(connection, lock_timeout_ms, work_ms)
                begun = time.monotonic()
                try:
                    connection.execute(step.statement)
                except errors.QueryCanceled as error:
                    raise _TooSlowError(work_ms) from error
            return time.monotonic() - begun
    except standbys.StandbyError as error:
        raise _NoLockError([str(error)]) from error
    except _NO_LOCK as error:
        raise _NoLockError(_holders(connection, step, wanted)) from error


def _none_reads(there: Sequence[standbys.Standby], step: Step) -> None:
    readers = [line for standby in there for line in standby.readers(step.tables, _modes(step.lock))]
    if readers:
        raise _NoLockError(readers)


def _end_named(connection: Connection, step: Step, named: set[int], notify: Notify, rules: Rules) -> None:
    """End the sessions that were named before and are still in the way, where the plan says so."""
    if not named or rules.terminate_after is None:
        return
    for blocker in _holders(connection, step, step.lock):
        if blocker.pid not in named:
            continue
        try:
            asked = {"pids": [blocker.pid], "age": rules.terminate_after}
            ended = connection.execute(STATEMENTS.terminate.compose(), asked).fetchall()
        except errors.InsufficientPrivilege:
            notify(
                f"{step.what}: this role may not end {blocker}; "
                "GRANT pg_signal_backend to it, or end it yourself"
            )
            continue
        if ended:
            line = f"ended {blocker}, which stood in the way of {step.what}"
            notify(line)
            rules.record(line)


def _limit(connection: Connection, lock_timeout_ms: int, statement_timeout_ms: int) -> None:
    limits = {"lock_timeout": str(lock_timeout_ms), "statement_timeout": str(statement_timeout_ms)}
    connection.execute(STATEMENTS.limit_transaction.compose(), limits)


def _modes(wanted: str) -> list[str]:
    """The modes that stand in the way of a mode, as pg_locks writes them."""
    return ["".join(word.capitalize() for word in mode.split()) + "Lock" for mode in _CONFLICTS[wanted]]


def _holders(connection: Connection, step: Step, wanted: str) -> list[Blocker]:
    asked = {"tables": [table.as_string() for table in step.tables], "modes": _modes(wanted)}
    rows = connection.execute(STATEMENTS.holders.compose(), asked)
    return [Blocker(*row) for row in rows]


def _online(connection: Connection, step: Step, notify: Notify) -> Taken:
    connection.execute(STATEMENTS.lift_limits.compose())
    seen = _Seen()
    try:
        with _watched(connection, step, notify, seen):
            repaired = step.repair is not None and step.repair.needed(connection)
            if step.repair is not None and repaired:
                notify(f"{step.what}: dropping what an earlier try left invalid")
                connection.execute(step.repair.statement)
            begun = time.monotonic()
            connection.execute(step.statement)
            took = time.monotonic() - begun
        return Taken(1, seen.seconds, took, repaired)
    except _NO_LOCK as error:
        raise _NoLockError(seen.blockers) from error
    finally:
        if not connection.closed:
            connection.execute(STATEMENTS.restore_limits.compose())


@contextmanager
def _watched(connection: Connection, step: Step, notify: Notify, seen: _Seen) -> Iterator[None]:
    """Tell whom the connection waits for while the body runs; `seen` has the last who were there."""
    ended = threading.Event()
    address = conninfo.make_conninfo(
        **connection.info.get_parameters(), password=connection.info.password or None
    )
    pid = connection.info.backend_pid

    def watch() -> None:
        # Most steps end before the first look, and then no second connection is opened.
        if ended.wait(_WATCH_EVERY):
            return
        try:
            with psycopg.connect(address, autocommit=True) as second:
                looked = time.monotonic()
                while not ended.wait(_WATCH_EVERY):
                    looked, last = time.monotonic(), looked
                    blockers = [
                        Blocker(*row) for row in second.execute(STATEMENTS.blockers.compose(), {"pid": pid})
                    ]
                    if blockers:
                        seen.seconds += looked - last
                    if blockers and {b.pid for b in blockers} != {b.pid for b in seen.blockers}:
                        notify(f"{step.what} waits for {'; '.join(map(str, blockers))}")
                    seen.blockers = blockers or seen.blockers
        except psycopg.Error as error:
            # Watching is a courtesy: the step goes on without it, and the operator hears why it is silent.
            notify(f"{step.what}: can't look who blocks it: {error}")

    thread = threading.Thread(target=watch, name="tenantry lock watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
