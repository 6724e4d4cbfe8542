"""What is measured of one way over the table."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from sql.job import JobSpec, Range
from tests.waiting import until


@dataclass(frozen=True, slots=True)
class Cut:
    """How the engine had cut the table: its job, its planned batches in order, and the rows of each."""

    spec: JobSpec
    ranges: tuple[Range, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One way over the table.

    `seconds` go from the first batch to the proof that no row is left, for those that prove it; `whole` takes
    in what had to be started first and stopped afterwards. `wal`, `before` and `after` are bytes, the last
    two of the table with its indexes. `heap_only` is the share of updates that stayed in their page.
    """

    seconds: float
    whole: float
    wal: int
    before: int
    after: int
    heap_only: float
    proof: float | None = None
    """Seconds of the proof, where it was timed apart."""
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of some work: seconds, bytes of WAL, the table's bytes before and after."""

    seconds: float
    wal: int
    before: int
    after: int


def see(url: str, work: Callable[[], None]) -> Seen:
    """Do some work on `big` and measure it, from a connection that does nothing else."""
    with psycopg.connect(url, autocommit=True) as look:
        before, wal, begun = _size(look), _wal_position(look), time.perf_counter()
        work()
        seconds = time.perf_counter() - begun
        return Seen(seconds, _wal_position(look) - wal, before, _size(look))


def heap_only(url: str, rows: int) -> float:
    """The share of heap-only updates, once the server has counted all of them.

    Sessions hand their counts in when they end, a moment after their client has gone.

    Raises:
        AssertionError: rows were left without a tenant: this way did not do what it is measured by.
    """
    with psycopg.connect(url, autocommit=True) as look:
        left = _one(look, "SELECT count(*) FROM big WHERE tenant_id = ''")
        assert left == 0, f"{left} rows were left without a tenant"
        if rows == 0:
            return 0.0
        counted = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'big'"
        updates = until(lambda: n if (n := _one(look, counted)) >= rows else 0, "the server's counts")
        return _one(look, "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'big'") / updates


def _one(connection: psycopg.Connection, query: str, parameters: Sequence[object] = ()) -> int:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return int(row[0])


def _wal_position(connection: psycopg.Connection) -> int:
    return _one(connection, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")


def _size(connection: psycopg.Connection) -> int:
    return _one(connection, "SELECT pg_total_relation_size('big')")
