"""What each stage will cost: time, downtime, WAL, disk and locks; by a rehearsal where there was one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from control import timings
from control.indexes import Wanted
from control.jobs import is_instant, parts
from control.keys import unique
from control.plan.model import Plan
from control.plan.values import seconds
from control.preflight import costs
from control.preflight.costs import Filled
from control.preflight.finding import Finding, none_of
from control.stage import Ground, How, Step
from control.stages import columns, keys, rls, switch
from control.timings import Rehearsal
from sql.postgres import preflight, surroundings
from sql.postgres.facts import Catalog, Table

#: The share of a table that may have changed since it was analyzed.
STALE = 0.2
#: WAL past which its room is worth a warning.
MUCH = 1024**3
#: PostgreSQL's table locks, the weakest first.
_LOCKS = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
#: Bytes that a tenant's name takes up in a row, its length among them: there are no statistics yet.
_TENANT = 8
#: And any column that nobody has analyzed.
_COLUMN = 16


@dataclass(frozen=True, slots=True)
class Estimate:
    """A stage's cost; `downtime` are the seconds in which all its strong locks together hold others up.

    `disk_bytes` is what stays. `locks` names the strongest and how long it is held. A `rehearsed` one is what
    the rehearsal took, in proportion to the rows.
    """

    stage: str
    seconds: float
    downtime: float
    wal_bytes: int
    disk_bytes: int
    locks: str
    rehearsed: bool = False


def estimates(ground: Ground) -> list[Estimate]:
    """The stages that cost something, in order; a table without statistics counts as empty."""
    rehearsal = timings.latest(ground.plan, ground.memory)
    worked_out = list(_worked_out(ground))
    if rehearsal is None:
        return worked_out
    return list(_as_rehearsed(worked_out, rehearsal, _rows(ground)))


def _rows(ground: Ground) -> int:
    return sum(max(0, table.rows) for table in ground.original.tables.values())


def _as_rehearsed(worked_out: Iterable[Estimate], rehearsal: Rehearsal, rows: int) -> Iterator[Estimate]:
    before = sum(rehearsal.rows.values())
    ratio = rows / before if before else 1.0
    took = {timing.stage: timing for timing in rehearsal.stages}
    for estimate in worked_out:
        timing = took.get(estimate.stage)
        # The backup is not rehearsed, and neither is a quiet time: a copy has no application.
        if timing is None or estimate.stage in {"backup", "rls"}:
            yield estimate
        else:
            yield Estimate(
                stage=estimate.stage,
                seconds=timing.seconds * ratio,
                downtime=estimate.downtime,
                wal_bytes=round(timing.wal_bytes * ratio),
                disk_bytes=round(timing.disk_bytes * ratio),
                locks=estimate.locks,
                rehearsed=True,
            )


def _worked_out(ground: Ground) -> Iterator[Estimate]:
    plan, original = ground.plan, ground.original
    tables = {table.name: original.tables[table.name] for table in plan.tables}
    whole = preflight.trees(ground.connection, [table.oid for table in tables.values()])
    sizes = surroundings.sizes(ground.connection, whole)
    rows = _rows(ground)
    yield Estimate("preflight", 0.5 + rows * costs.COUNTED, 0.0, 0, 0, "ACCESS SHARE: nobody waits")
    if plan.backup is not None:
        dumped = sum(size.heap for size in sizes.values())
        yield Estimate("backup", 0.5 + dumped / costs.DUMPED, 0.0, 0, 0, "ACCESS SHARE: nobody waits")
    yield _brief("columns", columns.STAGE.steps(plan, original))
    filled = [
        Filled(max(0, part.rows), sizes[part.oid].count, sizes[part.oid].heap, sizes[part.oid].indexes)
        for table in plan.tables
        if not is_instant(plan, table, original)
        for part in parts(tables[table.name])
        if part.oid in sizes
    ]
    yield Estimate(
        "backfill",
        costs.backfill_seconds(filled),
        0.0,
        costs.backfill_wal(filled, surroundings.wal_settings(ground.connection).max_wal),
        costs.backfill_disk(filled),
        f"rows of a batch, {plan.backfill.target}",
    )
    if plan.separates:
        yield from _apart(plan, original, filled, rows)
    else:
        yield from _built(ground, tables, whole)
    yield Estimate("verify", 1.0 + rows * costs.VERIFIED, 0.0, 0, 0, "ACCESS SHARE: nobody waits")


def _apart(plan: Plan, original: Catalog, filled: list[Filled], rows: int) -> Iterator[Estimate]:
    """The stages that give each tenant a schema; a row is read twice and written once."""
    size = sum(table.heap + table.index_bytes for table in filled)
    yield Estimate(
        "schemas",
        costs.backfill_seconds(filled) + 2 * rows * costs.VERIFIED,
        0.0,
        2 * size,
        size,
        f"rows of a batch, {plan.backfill.target}",
    )
    yield _brief("switch", switch.STAGE.steps(plan, original), 2 * rows * costs.VERIFIED)


def _built(ground: Ground, tables: dict[str, Table], whole: list[int]) -> Iterator[Estimate]:
    """The stages that build on the shared tables."""
    plan, original = ground.plan, ground.original
    built = list(_indexes(ground, whole))
    made = sum(size for _, size in built)
    yield Estimate(
        "indexes",
        sum(rows for rows, _ in built) / costs.INDEXED + costs.STATEMENT * len(built),
        0.0,
        made,
        made,
        "SHARE UPDATE EXCLUSIVE: no write waits",
    )
    swap = list(keys.STAGE.steps(plan, original))
    validated = sum(
        max(0, tables[table.name].rows) * len(tables[table.name].foreign_keys) for table in plan.tables
    )
    yield _brief("keys", swap, validated / costs.VALIDATED if swap else 0.0)
    policies = [table.rls for table in plan.tables if table.rls is not None]
    if policies:
        quiet = max((seconds(rls_.quiet) for rls_ in policies if rls_.mode == "strict"), default=0.0)
        yield _brief("rls", rls.STAGE.steps(plan, original), quiet)


def _brief(stage: str, steps: Iterable[Step], more: float = 0.0) -> Estimate:
    """A stage of short statements, and `more` seconds of it without a lock that anybody waits for."""
    taken = list(steps)
    strong = [step for step in taken if step.how is How.BRIEF]
    locks = max((step.lock for step in strong), key=_strength, default="")
    told = (
        f"{locks}, {costs.LOCK * 1000:.0f} ms each of {len(strong)}"
        if locks
        else "none that anybody waits for"
    )
    return Estimate(stage, costs.STATEMENT * len(taken) + more, costs.LOCK * len(strong), 0, 0, told)


def _strength(lock: str) -> int:
    return _LOCKS.index(lock) if lock in _LOCKS else -1


def _indexes(ground: Ground, whole: list[int]) -> Iterator[tuple[int, int]]:
    """Every index that will be built, as its rows and bytes."""
    widths = surroundings.widths(ground.connection, whole)
    tenant = ground.plan.tenant.column
    for table in ground.plan.tables:
        found = ground.original.tables[table.name]
        rows, old = max(0, found.rows), found.primary_key
        keyed = table.primary_key is not None and (old is None or old.columns != table.primary_key)
        wanted = [
            index.columns
            for index in table.indexes
            if Wanted(table.name, found, index.name, index.columns).in_place(found) is None
        ]
        wanted += [new.index.columns for _, new in unique.pairs_of(ground.plan, table, found)]
        for names in [*wanted, table.primary_key] if keyed and table.primary_key is not None else wanted:
            of_columns = [
                _TENANT if name == tenant else widths.get((found.schema_, found.name, name), _COLUMN)
                for name in names
            ]
            yield rows, costs.index_bytes(rows, of_columns, repeated=names == (tenant,))


def look(ground: Ground, found: list[Estimate]) -> Iterator[Finding]:
    """The estimates as one finding, and what spoils them."""
    original = ground.original
    unknown = [t.name for t in ground.plan.tables if original.tables[t.name].rows < 0]
    way_out = "ANALYZE them: estimates and the server's plans lean on it"
    if unknown:
        yield Finding("warn", "statistics", f"none for {', '.join(unknown)}", way_out)
    else:
        tables = preflight.trees(ground.connection, [table.oid for table in original.tables.values()])
        yield none_of(
            "statistics",
            surroundings.stale_statistics(ground.connection, tables, STALE),
            level="warn",
            way_out=way_out,
            fine=f"less than {STALE:.0%} of every table has changed since",
        )
    wal = sum(cost.wal_bytes for cost in found)
    downtime = sum(cost.downtime for cost in found)
    times = (
        "; ".join(f"{cost.stage} {_time(cost.seconds)}" for cost in found if cost.seconds >= 1) or "seconds"
    )
    by = "as rehearsed" if any(cost.rehearsed for cost in found) else "worked out"
    fact = f"about {times}; {downtime:.1f} s under strong locks; {wal / 1024**2:,.0f} MB of WAL ({by})"
    if wal > MUCH:
        way_out = "see that disk, archive, replicas and slots have room for it, and for as much growth again"
        yield Finding("warn", "estimate", fact, way_out)
    else:
        yield Finding("pass", "estimate", fact)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
