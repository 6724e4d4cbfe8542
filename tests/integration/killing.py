"""A controller that is killed with SIGKILL before one of its statements, and started again.

Run as a program, it goes there or back for as often as it has to: `killing.py there|back URL QUEUE PLAN`,
with the points on standard input, one a line: a number of statements that change something, counted from the
start of that attempt; or `each`, to be killed once between any two statements that follow each other, be it
the schema or the ledger that they change. Python and its modules are loaded once; each attempt is a process
of its own, forked from there.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from control import conductor
from control.plan.reading import read_plan
from control.queue import namespace_of
from control.rollback import rollback
from sql.errors import GateClosedError
from tests.integration.worker_threads import worker_threads
from tests.waiting import until
from worker.broker import doorbell

#: Of the ledger's statements those that a walk is made of; the backfill's come as often as its clock ticks.
_LEDGER = (
    "begin_",
    "end_",
    "set_st",
    "record",
    "remember",
    "confirm",
    "withdraw",
    "forget_mi",
    "drop",
    "create",
)
_STAGES = ("columns.", "guard.", "indexes.", "keys.", "rls.", "schemas.", "schemas_mirror.")
#: Of the backfill's those that come once, or once for each batch.
_BATCHED = ("jobs.add", "jobs.forget", "jobs.set_state", "jobs.advance", "jobs.count_sweep")
_READS = ("SELECT", "WITH", "SET", "RESET")
_ALIVE = (
    "SELECT FROM pg_stat_activity "
    "WHERE application_name = 'tenantry controller' AND datname = current_database()"
)
#: More attempts than any walk of a few tables has statements.
_ATTEMPTS = 2_000
#: Characters of a statement that tell it from others; fewer than fit into a pipe unread.
_SHOWN = 300

#: Whether to be killed now: by how many statements went before, and between which two of a session this is.
Kill = Callable[[int, str], bool]


def walk_killed(
    direction: str, url: str, queue: str, plan: Path, points: Iterable[int | str], *, timeout: float = 280
) -> list[str]:
    """Walk with a kill at each point and once more to the end; between which statements it was killed.

    Raises:
        subprocess.CalledProcessError: an attempt failed by itself.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "tests.integration.killing", direction, url, queue, str(plan)],
        input="\n".join(map(str, points)),
        cwd=Path(__file__).parents[2],
        env=os.environ | {"DATABASE_URL": url},
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout.splitlines()


def _main(direction: str, url: str, queue: str, file: str) -> int:
    walk = _there if direction == "there" else _back
    points = sys.stdin.read().split()
    each = points == ["each"]
    seen: set[str] = set()
    for attempt in range(_ATTEMPTS):
        kill: Kill | None = None
        if each:
            kill = partial(_between_others, seen)
        elif attempt < len(points):
            kill = partial(_before, int(points[attempt]))
        status, between = _forked(partial(_attempt, walk, url, queue, Path(file)), kill)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            seen.add(between)
            sys.stdout.write(f"{between}\n")
            continue
        if os.waitstatus_to_exitcode(status) != 0:
            return 1
        # What has walked back to the beginning has nothing more to take back.
        if each or attempt >= len(points) or walk is _back:
            return 0
    sys.stderr.write(f"after {_ATTEMPTS} attempts it is not at its end\n")
    return 1


def _before(point: int, before: int, _between: str) -> bool:
    """Whether the statement at hand is the `point`-th."""
    return before + 1 == point


def _between_others(seen: set[str], _before: int, between: str) -> bool:
    """Whether nobody was killed yet between these two statements."""
    return between not in seen


def _forked(body: Callable[[], None], kill: Kill | None) -> tuple[int, str]:
    """Run the body in a child, and say how it ended; where it was killed, between which statements."""
    sys.stdout.flush()
    heard, told = os.pipe()
    child = os.fork()
    if not child:
        if kill is not None:
            _kill_where(kill, told)
        body()
        os._exit(0)
    os.close(told)
    with os.fdopen(heard, encoding="utf-8") as pipe:
        between = pipe.read()
    return os.waitpid(child, 0)[1], between


def _attempt(walk: Callable[[str, str, Path], None], url: str, queue: str, plan: Path) -> None:
    try:
        walk(url, queue, plan)
    except BaseException as error:  # noqa: BLE001  # the child's only way to say it
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)


def _kill_where(kill: Kill, told: int) -> None:
    """Kill this process before the statement that `kill` says, of those that change something."""
    execute = psycopg.Cursor.execute
    main = threading.current_thread()
    one_at_a_time = threading.Lock()
    taken = 0
    last: dict[int, str] = {}  # the controller and its lanes each go their own way

    def counted(cursor: psycopg.Cursor[Any], query: Any, *rest: Any, **more: Any) -> Any:
        nonlocal taken
        text = _text(query, cursor)
        thread = threading.current_thread()
        if (thread is main or thread.name.startswith("tenantry lane")) and _changes(text):
            statement = _shown(text, rest)
            with one_at_a_time:
                between = f"{last.get(thread.native_id or 0, 'the beginning')} | {statement}"
                if kill(taken, between):
                    os.write(told, between.encode())
                    os.kill(os.getpid(), signal.SIGKILL)
                taken += 1
                last[thread.native_id or 0] = statement
        return execute(cursor, query, *rest, **more)

    psycopg.Cursor.execute = counted  # type: ignore[method-assign,assignment]


def _text(query: Any, cursor: psycopg.Cursor[Any]) -> str:
    if isinstance(query, bytes):
        return query.decode()
    return query if isinstance(query, str) else str(query.as_string(cursor))


def _shown(text: str, rest: Sequence[Any]) -> str:
    """A statement in one line, with what tells it from others like it: names, and neither ids nor times."""
    values = rest[0].values() if rest and isinstance(rest[0], dict) else rest[0] if rest else ()
    told = [value for value in values or () if isinstance(value, str)]
    tag, _, body = text.removeprefix("/* tenantry ").partition(" */ ")
    if tag.startswith(_STAGES):
        told.append(body)
    elif tag.startswith((*_BATCHED, "ledger.end_statement")):
        told.clear()  # which batch or entry it is makes no difference
    return " ".join(" ".join((tag, *told)).split())[:_SHOWN]


def _changes(text: str) -> bool:
    if not text.startswith("/* tenantry "):
        return False
    tag, _, body = text.removeprefix("/* tenantry ").partition(" */ ")
    if tag.startswith("ledger."):
        return tag.removeprefix("ledger.").startswith(_LEDGER)
    return tag.startswith((*_STAGES, *_BATCHED)) and not body.startswith(_READS)


def _there(url: str, queue: str, file: Path) -> None:
    plan = read_plan(file)
    space = namespace_of(plan)
    _gone(url)
    with conductor.controller(plan) as connection, worker_threads(1, url=url, queue=queue, namespace=space):
        bell = doorbell(queue, space)
        try:
            conductor.run(plan, connection, bell, throttle=False, notify=_nobody)
        except GateClosedError as closed:
            if closed.stage != "application":
                raise
            conductor.confirm(plan, connection, "application")
            conductor.run(plan, connection, bell, throttle=False, notify=_nobody)


def _back(url: str, _queue: str, file: Path) -> None:
    plan = read_plan(file)
    _gone(url)
    with conductor.controller(plan) as connection:
        rollback(plan, connection, notify=_nobody)


def _gone(url: str) -> None:
    """Wait until the server has noticed that the controller before this one is dead."""
    with psycopg.connect(url, autocommit=True) as look:
        until(lambda: look.execute(_ALIVE).rowcount == 0, "the end of a killed controller's session")


def _nobody(_line: str) -> None:
    """Nobody listens."""


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
