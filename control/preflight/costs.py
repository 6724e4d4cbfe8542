"""What rows, bytes and indexes cost, by stage, where nothing was rehearsed; measured on two cores.

All of it from migrations of the sample graph beside an application: 600,000 rows on busier and on quieter
days, which differed by twice, 3 million, and 10.2 million with 15.1 GB of WAL. `make bench ARGS="--only
estimate"` holds it against a run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Seconds per row of a backfill, and for each index of its table: 57,000 rows/s with three, 32,000 to 41,000
#: with five, one of which is inverted.
ROW, ROW_INDEX = 11e-6, 3e-6
#: Bytes of WAL of a row that a batch updates, its share of the ledger's among them.
ROW_WAL = 250
#: The part of its indexes' pages that a backfill touches again between two checkpoints, each written whole.
TOUCHED = 0.65
#: By how much of its size a table and its indexes grow: rows that leave their page, and entries for them.
GROWTH = 0.14
#: Rows per second that CREATE INDEX CONCURRENTLY brings into an index, and that VALIDATE looks up.
INDEXED, VALIDATED = 450_000, 650_000
#: Seconds per row of `preflight` and of `verify`. A run looks twice, before it has a ledger and as its first
#: stage, and counts each row under its tenant.
COUNTED, VERIFIED = 5e-6, 8e-6
#: Bytes per second that one connection of pg_dump reads.
DUMPED = 52e6
#: Seconds of a statement with a strong lock, and of the lock alone: 2 to 12 ms were seen.
STATEMENT, LOCK = 0.03, 0.01
#: Bytes of a btree's entry beside its columns, and of one whose key stands there once for many rows.
ENTRY, REPEATED = 12, 7
#: How full the server leaves a btree's pages.
FILLED = 0.9


@dataclass(frozen=True, slots=True)
class Filled:
    """A table that is filled: rows, indexes, and bytes of its heap and of all its indexes."""

    rows: int
    indexes: int
    heap: int
    index_bytes: int


def backfill_seconds(tables: Sequence[Filled]) -> float:
    """How long two workers take, one table after the other."""
    return sum(t.rows * (ROW + ROW_INDEX * t.indexes) for t in tables)


def backfill_wal(tables: Sequence[Filled], max_wal: int) -> int:
    """Bytes: a record for each row, and every page whole when it is first changed after a checkpoint.

    A heap is gone through once. Its indexes are met everywhere, and so again after each checkpoint, of which
    there are the more the more WAL there is: at 10 million rows that was two thirds of all of it.
    """
    rows, heaps, indexes = (
        sum(t.rows for t in tables) * ROW_WAL,
        sum(t.heap for t in tables),
        sum(t.index_bytes for t in tables),
    )
    checkpoints = (rows + heaps + indexes) / max_wal
    return round(rows + heaps + indexes * max(1.0, TOUCHED * checkpoints))


def backfill_disk(tables: Sequence[Filled]) -> int:
    """Bytes by which tables and indexes grow."""
    return round(GROWTH * sum(t.heap + t.index_bytes for t in tables))


def index_bytes(rows: int, widths: Sequence[int], *, repeated: bool) -> int:
    """Bytes of a btree over columns of these widths; `repeated` where a key stands for many rows."""
    if repeated:
        return rows * REPEATED
    # Entries begin at multiples of 8.
    return round(rows * (8 * math.ceil(sum(widths) / 8) + ENTRY) / FILLED)
