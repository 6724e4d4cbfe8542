"""What the engine is measured against: other ways to fill the same column of the same table."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
from psycopg import sql

from sql.job import Range, Shape
from sql.postgres.batch import JobSQL, range_parameters
from sql.postgres.connection import Connection, connect
from tests.benchmarks.backfills import TENANT
from tests.benchmarks.measured import Cut, Run, Seen, heap_only, see

_ONE_UPDATE = f"UPDATE big SET tenant_id = {TENANT} WHERE tenant_id = ''"

_TRIGGER = f"""
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.tenant_id := NEW.{TENANT};
    RETURN NEW;
END $$;
CREATE TRIGGER fill BEFORE UPDATE ON big FOR EACH ROW EXECUTE FUNCTION fill();
"""
_PAGE = """
WITH batch AS (
    SELECT id FROM big WHERE tenant_id = '' AND id > %(last)s ORDER BY id LIMIT 1000 FOR NO KEY UPDATE
), updated AS (
    UPDATE big SET id = big.id FROM batch WHERE big.id = batch.id RETURNING big.id
)
SELECT max(id) FROM updated
"""


def one_update(url: str, rows: int) -> Run:
    """One UPDATE of the whole table: what anybody would write first."""
    with psycopg.connect(url, autocommit=True) as connection:
        seen = see(url, lambda: _send(connection, _ONE_UPDATE))
    return _run(url, rows, seen)


def rows_by_trigger(url: str, rows: int) -> Run:
    """Pages of 1000 rows in the order of the primary key, each row touched so that a trigger fills it.

    This is how pgroll backfills: a BEFORE UPDATE trigger has the new column's expression, and the backfill
    sets the key to itself, a page to a transaction, on one connection. Kinder to it than it is to itself, the
    trigger does not look at the search path, no second column is kept to tell what is done, the statement is
    prepared, and one row instead of a thousand comes back.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        _send(connection, _TRIGGER)
        seen = see(url, lambda: _page_by_page(connection))
    return _run(url, rows, seen)


def _page_by_page(connection: psycopg.Connection) -> None:
    last: str | None = ""
    while last is not None:
        row = connection.execute(_PAGE, {"last": last}, prepare=True).fetchone()
        last = row[0] if row is not None else None


def bare_loop(url: str, rows: int, cut: Cut, *, connections: int = 2) -> Run:
    """The engine's own batches in a loop: no queue, no ledger, nothing planned, nobody asked.

    The statement is made of the engine's own fragments, without the claim and without the ledger's row. The
    ranges are those that the engine cut the same table into, size by size as it found its own, in its order;
    a connection takes a group of them at a time, as a worker does, and sends them prepared. Who writes such a
    loop has the same to prove at the end, so the last scan is timed too; `proof` says how long it took.
    """
    job_sql = JobSQL(cut.spec)
    statements = {shape: fill(job_sql, shape).as_bytes() for shape in {range_.shape for range_ in cut.ranges}}
    groups = iter(list(groups_of(cut.ranges)))
    taking = threading.Lock()

    def work(connection: Connection) -> None:
        while True:
            with taking:
                group = next(groups, None)
            if group is None:
                return
            for range_ in group:
                connection.execute(statements[range_.shape], range_parameters(range_), prepare=True)

    proof = 0.0

    def all_of_it(pool: ThreadPoolExecutor, opened: Sequence[Connection]) -> None:
        nonlocal proof
        list(pool.map(work, opened))
        begun = time.perf_counter()
        opened[0].execute(job_sql.unfilled(), {})
        proof = time.perf_counter() - begun

    with ExitStack() as stack:
        opened = [stack.enter_context(connect(url, "bare loop")) for _ in range(connections)]
        pool = stack.enter_context(ThreadPoolExecutor(connections))
        seen = see(url, lambda: all_of_it(pool, opened))
    return _run(url, rows, seen, proof)


def fill(job_sql: JobSQL, shape: Shape) -> sql.Composed:
    """The engine's UPDATE of one batch, and nothing beside it."""
    asked = job_sql.asked(shape)
    return sql.SQL(
        "UPDATE {table} AS t SET {tenant} = {value} {source} WHERE {range} AND {unfilled} AND {resolved}"
    ).format(
        table=job_sql._table,
        tenant=job_sql._tenant,
        **{name: asked[name] for name in ("value", "source", "range", "unfilled", "resolved")},
    )


def groups_of(ranges: Sequence[Range]) -> Iterator[Sequence[Range]]:
    """Cut ranges into the groups that they were planned in: one begins where the stripes begin anew."""
    group: list[Range] = []
    for range_ in ranges:
        if group and (range_.stripe or 0) < (group[-1].stripe or 0):
            yield group
            group = []
        group.append(range_)
        if range_.stripe is None:
            yield group
            group = []
    if group:
        yield group


def _send(connection: psycopg.Connection, statement: str) -> None:
    connection.execute(statement.encode())


def _run(url: str, rows: int, seen: Seen, proof: float | None = None) -> Run:
    return Run(
        seen.seconds, seen.seconds, seen.wal, seen.before, seen.after, heap_only(url, rows), proof=proof
    )
