"""What each stage of a file will cost: time, the write lock, WAL and disk; and each lock that is long."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from control.preflight.estimate import Estimate
from control.preflight.finding import Finding
from control.sqlite.expected import after_columns
from control.sqlite.indexes import missing
from control.sqlite.jobs import is_instant
from control.sqlite.preflight import costs
from control.sqlite.preflight.integrity import LIMIT
from control.sqlite.rebuild import indexing
from control.sqlite.rebuild.course import SHORT
from control.sqlite.rebuild.sides import Rebuild, Sides, sides
from control.sqlite.stage import WRITE_LOCK, Ground
from sql.sqlite import preflight
from sql.sqlite.pieces import Piece, pieces
from sql.sqlite.preflight import Size

#: A write lock that lasts longer, in seconds, is foretold.
LONG = 0.25

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


def _sides(ground: Ground) -> Sides:
    """What `keys` changes, of the tables as `columns` leaves them."""
    return sides(ground.plan, after_columns(ground.plan, ground.original))


def holds(ground: Ground, found: Mapping[str, Size]) -> Iterator[Hold]:
    """Every step that has the write lock, but for batches, with how long it will have it."""
    plan, original = ground.plan, ground.original
    groups = list(_sides(ground).groups())
    anew = {one.name for group in groups for one in group}
    for table in plan.tables:
        was = original.table(table.name)
        if was.column(plan.tenant.column) is None:
            yield Hold("columns", f"{table.name}: add {plan.tenant.column}", costs.STATEMENT)
            back = f"{table.name}: drop {plan.tenant.column}"
            yield Hold("columns", back, costs.drop_column(found[was.name]), back=True)
        if was.name not in anew:
            for index, _ in missing(table, was):
                built = costs.index(found[was.name], len(index.columns))
                yield Hold("indexes", f"{table.name}: {index.name}", built)
    for group in groups:
        yield from _anew(ground, group, found)


def _anew(ground: Ground, group: Sequence[Rebuild], found: Mapping[str, Size]) -> Iterator[Hold]:
    """The tables that get their new keys in one moment: made in it, or before it in batches."""
    named, seconds = ", ".join(one.name for one in group), whole(group, found)
    if seconds <= 2 * SHORT:
        # The way back makes fewer indexes, and may be short where the way there was not.
        yield Hold("keys", f"{named}: made anew with the old keys", min(seconds, SHORT), back=True)
    if seconds <= SHORT:
        yield Hold("keys", f"{named}: made anew with the new keys", seconds)
        return
    yield Hold("keys", f"{named}: the new tables in the place of the old", costs.SWITCH)
    for one in group:
        for piece in pieces(one.name, one.after.sql, one.after.indexes):
            built = costs.index(found[one.name], len(piece.parts))
            if built > indexing.SHORT and _is_sorted_first(ground, one, piece):
                # What takes longer is broken off, and goes in entry by entry.
                built = indexing.SHORT if found[one.name].rows <= indexing.AT_ONCE else 0.0
            yield Hold("keys", f"{one.name}: {piece.name} on the new table", built)


def whole(group: Sequence[Rebuild], found: Mapping[str, Size]) -> float:
    """Seconds in which tables are copied, indexed, and compared with what they were."""
    return sum(
        costs.copy(found[one.name])
        + sum(costs.index(found[one.name], columns) for columns in _indexes(one))
        + 2 * costs.read(found[one.name])
        for one in group
    )


def _indexes(one: Rebuild) -> list[int]:
    """How many columns each index of a table has that is made anew."""
    return [len(piece.parts) for piece in pieces(one.name, one.after.sql, one.after.indexes)]


def _is_sorted_first(ground: Ground, one: Rebuild, piece: Piece) -> bool:
    """Whether an index can be made entry by entry: of columns without NULL, on a table with a rowid."""
    was = ground.original.table(one.name)
    columns = [part.column for part in piece.parts if part.column != ground.plan.tenant.column]
    if was.without_rowid or None in columns:
        return False
    may_be_null = [column.name for column in was.columns if column.name in columns and not column.not_null]
    return not preflight.has_null(ground.connection, was.name, may_be_null, LIMIT)


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
    yield Estimate("preflight", 0.1 + costs.LOOKS * read, 0.0, 0, 0, _NOBODY)
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
        costs.index_bytes(found[original.table(table.name).name], len(index.columns))
        for table in plan.tables
        if original.table(table.name).name not in {one.name for one in _sides(ground).tables}
        for index, _ in missing(table, original.table(table.name))
    )
    yield _brief("indexes", every, wal=made, disk=made)
    yield _keys(ground, found, every)
    yield Estimate("verify", 0.1 + costs.VERIFIES * read, 0.0, 0, 0, _NOBODY)


def _keys(ground: Ground, found: Mapping[str, Size], every: list[Hold]) -> Estimate:
    groups = list(_sides(ground).groups())
    # Old and new stand side by side until a group is exchanged; then the old ones leave their room to others.
    new = [sum(_bytes(one, found[one.name]) for one in group) for group in groups]
    batches = [whole(group, found) for group in groups]
    more = costs.BATCHED * sum(seconds for seconds in batches if seconds > SHORT)
    return _brief("keys", every, more, wal=sum(new), disk=max(new, default=0))


def _bytes(one: Rebuild, size: Size) -> int:
    return size.bytes_ + sum(costs.index_bytes(size, columns) for columns in _indexes(one))


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
