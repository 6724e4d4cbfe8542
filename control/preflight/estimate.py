"""What each stage will cost, roughly: time, WAL, and how long its locks are felt."""

from collections.abc import Iterator
from dataclasses import dataclass

from control.jobs import is_instant
from control.plan.model import Plan
from control.preflight.finding import Finding
from sql.postgres.catalog import Catalog

#: Rows per second of a backfill: what `tenantry demo` made on two cores, five indexes a table and an
#: application at work.
ROWS_PER_SECOND = 50_000
#: Bytes of WAL per row: 1,121 MB for 3 million rows, measured with striped batches (design, section 4).
WAL_PER_ROW = 375
#: Bytes of an index entry, and of WAL for it: a guess for text keys of 20 bytes.
INDEX_ENTRY = 40
#: Rows per second that CREATE INDEX CONCURRENTLY and VALIDATE read: a guess.
SCANNED_PER_SECOND = 500_000
#: WAL past which its room is worth a warning.
MUCH = 1024**3


@dataclass(frozen=True, slots=True)
class Estimate:
    """A stage's cost: seconds, bytes of WAL, and the strongest lock with how long it is held."""

    stage: str
    seconds: float
    wal_bytes: int
    locks: str


def estimates(plan: Plan, original: Catalog) -> Iterator[Estimate]:
    """The stages that cost something, in order; a table without statistics counts as empty."""
    rows = {t.name: max(0, original.tables[t.name].rows) for t in plan.tables}
    filled = sum(rows[t.name] for t in plan.tables if not is_instant(plan, t, original))
    indexed = sum(rows[t.name] * (len(t.indexes) + (t.primary_key is not None)) for t in plan.tables)
    referring = sum(rows[t.name] * len(original.tables[t.name].foreign_keys) for t in plan.tables)
    under_policy = sum(t.rls is not None for t in plan.tables)
    brief = "ACCESS EXCLUSIVE, milliseconds per table"
    yield Estimate("columns", 0.1 * len(plan.tables), 0, brief)
    yield Estimate("backfill", filled / ROWS_PER_SECOND, filled * WAL_PER_ROW, "rows of a batch, 50 ms")
    yield Estimate(
        "indexes", indexed / SCANNED_PER_SECOND, indexed * INDEX_ENTRY, "none that a write waits for"
    )
    yield Estimate("keys", referring / SCANNED_PER_SECOND, 0, brief)
    yield Estimate("rls", 0.1 * under_policy, 0, brief)


def look(plan: Plan, original: Catalog) -> Iterator[Finding]:
    """The estimate as one finding, and what spoils it."""
    unknown = [t.name for t in plan.tables if original.tables[t.name].rows < 0]
    if unknown:
        yield Finding(
            "warn", "statistics", f"none for {', '.join(unknown)}", "ANALYZE them: estimates lean on it"
        )
    costs = list(estimates(plan, original))
    wal = sum(cost.wal_bytes for cost in costs)
    told = (
        "; ".join(f"{cost.stage} {_time(cost.seconds)}" for cost in costs if cost.seconds >= 1) or "seconds"
    )
    fact = f"about {told}; {wal / 1024**2:,.0f} MB of WAL"
    if wal > MUCH:
        way_out = "see that disk, archive, replicas and slots have room for it, and for as much growth again"
        yield Finding("warn", "estimate", fact, way_out)
    else:
        yield Finding("pass", "estimate", fact)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
