"""A table of a billion rows, simulated: an empty one, whose job is bounded by twenty-two million pages.

What grows with a table is the plan of its batches; whether they find rows makes no difference to it. The
controller is a process of its own, so that its memory is nobody else's. The workers run every batch.
"""

import logging
import multiprocessing
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import psycopg

from control.embedded.valkey import start_valkey
from control.jobs import job_spec, parts
from control.stage import Ground
from control.stages import backfill
from sql.postgres.connection import connect
from sql.postgres.paging import Heap
from tests.benchmarks.backfills import crew, ground_of, plan_of
from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.tables import Tables
from tests.waiting import until
from worker import jobs, logs, paging

NAME = "key-space"
ROWS, PAGES = 1_000_000_000, 22_000_000
#: Seconds after which it is enough: memory that grew with the work would have grown by then.
_LONGEST = 180.0
_LOOK_EVERY = 1.0
_MEGABYTE = 1024.0  # of the kilobytes that the kernel tells


def measure(tables: Tables) -> list[Figure]:
    """When the first batch is done, and what the controller's memory comes to on its way."""
    url = tables.empty()
    plan = plan_of(url)
    spawn = multiprocessing.get_context("spawn")  # a fork would hold the servers' pipes open
    ours, theirs = spawn.Pipe()
    with (
        start_valkey() as valkey,
        crew(plan, valkey.url, 2),
        psycopg.connect(url, autocommit=True) as look,
    ):
        controller = spawn.Process(target=_control, args=(url, valkey.url, theirs), daemon=True)
        controller.start()
        begun = float(ours.recv())
        first = float(until(lambda: _number(look, _FIRST), "the first batch")) - begun
        until(lambda: _number(look, _DONE) >= 64, "the first group")
        early = _resident(controller.pid)
        most = late = early
        while controller.is_alive() and time.time() - begun < _LONGEST:
            controller.join(_LOOK_EVERY)
            late = _resident(controller.pid) or late
            most = max(most, late)
        # None: it is stopped here, having had its time.
        assert controller.exitcode in {None, 0}, f"the controller failed ({controller.exitcode})"
        controller.terminate()
        controller.join()
        took = time.time() - begun
        done, planned = _number(look, _DONE), _number(look, _PLANNED)
    says = f"a key space of {ROWS:,} rows, simulated"
    values = {
        Bar("seconds to the first batch", must=1.0, at_most=True): first,
        Bar("memory, most / after the first group", must=1.1, at_most=True): most / early,
        Bar("MB after the first group"): early / _MEGABYTE,
        Bar("MB at the end"): late / _MEGABYTE,
        Bar("batches done"): done,
        Bar("share of the space"): planned / PAGES,
        Bar("seconds in all"): took,
    }
    return [Figure(NAME, says, bar, (value,)) for bar, value in values.items()]


_FIRST = "SELECT extract(epoch FROM min(finished_at)) FROM tenantry.batches"
_DONE = "SELECT count(*) FROM tenantry.batches WHERE state = 'done'"
_PLANNED = "SELECT (planned_to[1]::tid::text::point)[0] FROM tenantry.jobs"


def _control(url: str, queue: str, started: Pipe) -> None:
    """The controller's process: the stage, with a job whose bound was frozen on such a table."""
    logs.configure(level=logging.ERROR)
    plan = plan_of(url)
    with connect(url, "controller") as connection, ground_of(plan, connection, queue) as ground:
        _freeze(ground)
        started.send(time.time())
        backfill.STAGE.work(ground)


def _freeze(ground: Ground) -> None:
    table = ground.plan.tables[0]
    (part,) = parts(ground.original.table(table.name))
    # A hundredth of the table in cache: a server for a billion rows has as much.
    heap = Heap(pages=PAGES, cache=PAGES // 100, rows=ROWS, correlation=1.0)
    spec, why = job_spec(ground.plan, table, part, heap)
    jobs.add(
        ground.connection,
        ground.migration,
        table=table.name,
        part=part.identifier.as_string(),
        spec=spec,
        last_key=paging.place(PAGES),
        batch_rows=paging.first_size(ground.plan.backfill.first_batch, ROWS, spec),
        rows_total=ROWS,
        why=why,
    )


def _number(look: psycopg.Connection, query: str) -> float:
    """The query's number; 0 while there is none, or no ledger yet."""
    try:
        row = look.execute(query.encode()).fetchone()
    except psycopg.errors.UndefinedTable:
        return 0.0
    return float(row[0]) if row is not None and row[0] is not None else 0.0


def _resident(pid: int | None) -> float:
    """Kilobytes of memory that a process has; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0.0)
