"""A controller that is killed with SIGKILL before one of its statements, and started again.

Run as a program, it goes there or back for as often as it has to: `killing.py there|back URL QUEUE PLAN`,
with the points on standard input, one a line: a number of statements that change something, counted from the
start of that attempt; or `each`, to be killed after every single statement of a stage. Python and its modules
are loaded once; each attempt is a process of its own, forked from there.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
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
_STAGES = ("columns.", "guard.", "indexes.", "keys.", "rls.")
_READS = ("SELECT", "WITH", "SET", "RESET")
_ALIVE = (
    "SELECT FROM pg_stat_activity "
    "WHERE application_name = 'tenantry controller' AND datname = current_database()"
)
#: More attempts than any walk has statements.
_ATTEMPTS = 400


def walk_killed(direction: str, url: str, queue: str, plan: Path, points: Iterable[int | str]) -> list[str]:
    """Walk with a kill at each point and once more to the end; what was killed, statement by statement.

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
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout.splitlines()


def _main(direction: str, url: str, queue: str, file: str) -> int:
    walk = _there if direction == "there" else _back
    points = sys.stdin.read().split()
    each = points == ["each"]
    for attempt in range(_ATTEMPTS):
        point = "each" if each else points[attempt] if attempt < len(points) else ""
        status = _forked(partial(_attempt, walk, url, queue, Path(file), point))
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            continue
        if os.waitstatus_to_exitcode(status) != 0:
            return 1
        if each or attempt >= len(points):
            return 0
    return 1


def _forked(body: Callable[[], None]) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    body()
    os._exit(0)


def _attempt(walk: Callable[[str, str, Path], None], url: str, queue: str, plan: Path, point: str) -> None:
    try:
        if point:
            _kill_at(point)
        walk(url, queue, plan)
    except BaseException as error:  # noqa: BLE001  # the child's only way to say it
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)


def _kill_at(point: str) -> None:
    """Kill this process before its `point`-th statement that changes something, or after a stage's first."""
    execute = psycopg.Cursor.execute
    main = threading.current_thread()
    count = 0

    def counted(cursor: psycopg.Cursor[Any], query: Any, *rest: Any, **more: Any) -> Any:
        nonlocal count
        text = _text(query, cursor)
        if threading.current_thread() is main and _changes(text):
            count += 1
            # What the audit writes after a statement: its transaction is committed, and nobody has noted it.
            if "ledger.end_statement" in text if point == "each" else count == int(point):
                _killed(text)
        return execute(cursor, query, *rest, **more)

    psycopg.Cursor.execute = counted  # type: ignore[method-assign,assignment]


def _text(query: Any, cursor: psycopg.Cursor[Any]) -> str:
    if isinstance(query, bytes):
        return query.decode()
    return query if isinstance(query, str) else str(query.as_string(cursor))


def _changes(text: str) -> bool:
    if not text.startswith("/* tenantry "):
        return False
    tag, _, body = text.removeprefix("/* tenantry ").partition(" */ ")
    if tag.startswith("ledger."):
        return tag.removeprefix("ledger.").startswith(_LEDGER)
    return tag.startswith(_STAGES) and not body.startswith(_READS)


def _killed(text: str) -> None:
    sys.stdout.write(" ".join(text.split())[:100] + "\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


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
        until(lambda: look.execute(_ALIVE).rowcount == 0, 30, "the end of a killed controller's session")


def _nobody(_line: str) -> None:
    """Nobody listens."""


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
