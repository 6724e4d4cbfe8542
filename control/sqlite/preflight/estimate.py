"""What each stage of a file will cost: time, the write lock, WAL and disk; and each lock that is long."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from control.plan.model import Plan
from control.plan.model import Table as PlanTable
from control.preflight.estimate import Estimate
from control.preflight.finding import Finding
from control.sqlite.jobs import is_instant
from control.sqlite.preflight import costs
from control.sqlite.preflight.integrity import LIMIT
from control.sqlite.stage import WRITE_LOCK, Ground
from sql.sqlite import preflight
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.names import folded
from sql.sqlite.preflight import Size

#: A write lock that lasts longer is foretold; and one that would last longer than the second is not held
#: where there is an online way.
LONG, TOO_LONG = 0.25, 4.0

_NOBODY = "none: in WAL mode nobody waits for a reader"


@dataclass(frozen=True, slots=True)
class Hold:
    """A time in which a step has the write lock, in seconds; `back` where only the way back has it."""

    stage: str
    what: str
    seconds: float
    back: bool = False


def sizes(ground: Ground) -> dict[str, Size]:
    """How large each table of the file is, by its name in the schema."""
    every = list(ground.original.tables.values())
    return preflight.sizes(ground.connection, every, LIMIT)


def rebuilt(plan: Plan, original: Catalog, table: PlanTable) -> bool:
    """Whether a table gets a new key, or foreign keys with the tenant in them: then it is written anew."""
    found = original.table(table.name)
    if table.primary_key is not None and found.rowid_alias is None:
        return _changes(table.primary_key, found)
    keyed = {folded(one.name) for one in plan.tables if one.primary_key is not None}
    return bool(table.unique) or (
        table.primary_key is not None and any(folded(key.target) in keyed for key in found.foreign_keys)
    )


def _changes(key: tuple[str, ...], found: Table) -> bool:
    return [folded(name) for name in key] != [folded(name) for name in found.primary_key]


def holds(ground: Ground, found: Mapping[str, Size]) -> Iterator[Hold]:
    """Every step that has the write lock, but for batches, with how long it will have it."""
    plan, original = ground.plan, ground.original
    overwritten = preflight.settings(ground.connection).secure_delete
    for table in plan.tables:
        was = original.table(table.name)
        size = found[was.name]
        if was.column(plan.tenant.column) is None:
            yield Hold("columns", f"{table.name}: add {plan.tenant.column}", costs.STATEMENT)
            back = f"{table.name}: drop {plan.tenant.column}"
            yield Hold("columns", back, costs.drop_column(size), back=True)
        if not rebuilt(plan, original, table):
            for name, columns in _indexes(table, was):
                yield Hold("indexes", f"{table.name}: {name}", costs.index(size, len(columns)))
            continue
        drop = costs.drop(size, overwritten=overwritten)
        whole = _rebuild(table, was, size) + drop
        if whole <= TOO_LONG:
            yield Hold("keys", f"{table.name}: written anew with its new key", whole)
        else:
            yield Hold("keys", f"{table.name}: switch to the new table, filled in batches before", drop)


def _rebuild(table: PlanTable, was: Table, size: Size) -> float:
    """Seconds in which a table is copied, indexed, and compared with what it was."""
    columns = [len(index.columns) for index in was.indexes]
    columns += [len(columns) for _, columns in _indexes(table, was)]
    return costs.copy(size) + sum(costs.index(size, one) for one in columns) + 2 * costs.read(size)


def _indexes(table: PlanTable, was: Table) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The indexes that are built beside those that are there."""
    for index in table.indexes:
        if was.index(index.name) is None:
            yield index.name, index.columns
    if table.primary_key is not None and was.rowid_alias is not None:
        yield f"unique ({', '.join(table.primary_key)})", table.primary_key


def estimates(ground: Ground, found: Mapping[str, Size] | None = None) -> list[Estimate]:
    """The stages that cost something, in order; `found` are the tables' sizes, where they are known."""
    known = sizes(ground) if found is None else found
    return list(_worked_out(ground, known))


def _worked_out(ground: Ground, found: Mapping[str, Size]) -> Iterator[Estimate]:
    plan, original = ground.plan, ground.original
    tables = {table.name: found[original.table(table.name).name] for table in plan.tables}
    every = list(holds(ground, found))
    whole = preflight.settings(ground.connection).bytes_
    read = sum(costs.read(size) for size in tables.values())
    yield Estimate("preflight", 0.1 + 2 * read, 0.0, 0, 0, _NOBODY)
    if plan.backup is not None:
        yield Estimate("backup", 0.1 + 2 * whole / 300e6, 0.0, 0, whole, _NOBODY)
    yield _brief("columns", every)
    filled = [tables[table.name] for table in plan.tables if not is_instant(plan, table, original)]
    yield Estimate(
        "backfill",
        sum(costs.fill(size) for size in filled),
        0.0,
        round(sum(size.bytes_ for size in filled) * (1 + costs.GROWTH)),
        round(sum(size.bytes_ * costs.GROWTH + size.rows * costs.TENANT for size in filled)),
        f"{WRITE_LOCK}, {plan.backfill.target} a batch",
    )
    made = sum(
        costs.index_bytes(tables[table.name], len(columns))
        for table in plan.tables
        if not rebuilt(plan, original, table)
        for _, columns in _indexes(table, original.table(table.name))
    )
    yield _brief("indexes", every, wal=made, disk=made)
    yield _keys(ground, tables, every)
    yield Estimate("verify", 0.1 + 2 * read, 0.0, 0, 0, _NOBODY)


def _keys(ground: Ground, tables: Mapping[str, Size], every: list[Hold]) -> Estimate:
    plan, original = ground.plan, ground.original
    anew = [table for table in plan.tables if rebuilt(plan, original, table)]
    new = [
        tables[table.name].bytes_
        + tables[table.name].index_bytes
        + sum(
            costs.index_bytes(tables[table.name], len(columns))
            for _, columns in _indexes(table, original.table(table.name))
        )
        for table in anew
    ]
    old = sum(tables[table.name].bytes_ + tables[table.name].index_bytes for table in anew)
    batches = sum(
        _rebuild(table, original.table(table.name), tables[table.name])
        for table in anew
        if not any(hold.what.startswith(f"{table.name}: written anew") for hold in every)
    )
    overwritten = old if preflight.settings(ground.connection).secure_delete else 0
    # A table that was dropped leaves its room to the next: of all of them only the largest is there twice.
    return _brief("keys", every, batches, wal=sum(new) + overwritten, disk=max(new, default=0))


def _brief(stage: str, every: list[Hold], more: float = 0.0, *, wal: int = 0, disk: int = 0) -> Estimate:
    """A stage of steps that have the write lock, and `more` seconds of it in batches."""
    held = [hold.seconds for hold in every if hold.stage == stage and not hold.back]
    told = f"{WRITE_LOCK}, {max(held) * 1000:,.0f} ms the longest of {len(held)}" if held else "none"
    return Estimate(stage, sum(held) + more, sum(held), wal, disk, told)


def look(ground: Ground, found: Mapping[str, Size], stages: list[Estimate]) -> Iterator[Finding]:
    """The estimates as one finding, and every write lock that lasts for long as another."""
    every = [hold for hold in holds(ground, found) if hold.seconds > LONG]
    yield from _locks(ground, every)
    times = "; ".join(f"{one.stage} {_time(one.seconds)}" for one in stages if one.seconds >= 1) or "seconds"
    held = sum(one.downtime for one in stages)
    wal = sum(one.wal_bytes for one in stages)
    fact = f"about {times}; {held:.1f} s under the write lock beside batches; {wal / 1e6:,.0f} MB of WAL"
    yield Finding("pass", "estimate", fact)


def _locks(ground: Ground, every: list[Hold]) -> Iterator[Finding]:
    for name, back in (("long write locks", False), ("long write locks of the way back", True)):
        told = [f"{one.stage}: {one.what}, about {one.seconds:.1f} s" for one in every if one.back is back]
        if not told:
            yield Finding("pass", name, f"none over {LONG * 1000:.0f} ms")
            continue
        wal = preflight.settings(ground.connection).journal_mode == "wal"
        who = "other writers wait for so long" if wal else "readers and writers wait for so long"
        way_out = (
            f"{who}: a busy timeout of twice that gets them through; or go there in a quiet hour (`run --to`)"
        )
        yield Finding("warn", name, "; ".join(told), way_out)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
