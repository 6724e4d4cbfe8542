"""The index of a partitioned table, built without a lock that anybody feels.

CONCURRENTLY is refused on a partitioned table. So the index is made ON ONLY the table, and on each partition
that has partitions of its own, where it holds nothing and is invalid; then CONCURRENTLY on each partition
with rows; then each is attached to the one above. With the last one it is valid. Once attached a part
can't be dropped alone, so going back drops the whole at once, with ACCESS EXCLUSIVE for milliseconds.

A partition may have an index of its own that is like its part: it is lent to the whole instead of being built
twice. Nothing takes an attached one off again, so the way back builds its like first.
"""

from collections.abc import Iterator
from dataclasses import replace

from psycopg import sql

from control import indexes, names
from control.arrivals import newcomers
from control.indexes import Wanted, columns_of, include_of
from control.plan.model import Plan
from control.stage import Closed, Step
from sql.postgres.facts import Catalog, Index, Table
from sql.postgres.indexes import STATEMENTS
from sql.postgres.unique import STATEMENTS as RENAMING


def others(plan: Plan, original: Catalog, live: Catalog) -> Closed | None:
    """Partitions that have come since the stage began, and that it would leave out (`control.arrivals`)."""
    come = [
        f"{part.identifier.as_string()} became a partition of {table.name} a moment ago"
        for table in plan.tables
        if table.indexes or table.primary_key
        for part in newcomers(original.table(table.name), live.table(table.name))
    ]
    return Closed(tuple(come), "`tenantry run` takes them along") if come else None


def whole(was: Table) -> tuple[sql.Identifier, ...]:
    """A table with all its partitions: what a strong lock on the table falls on."""
    return tuple(part.identifier for part in (was, *was.branches, *was.partitions))


def build(wanted: Wanted) -> Iterator[Step]:
    """Build it, from the partitions up; nothing where the whole was there before the migration."""
    was = wanted.was
    before = was.index(wanted.name)
    if before is not None and wanted.is_like(before) and before.valid:
        return
    for part in (was, *was.branches):
        yield _unless_whole(wanted, part, _on_only(of(wanted, part)))
    for part in was.partitions:
        yield _unless_whole(wanted, part, indexes.build(of(wanted, part)))
    for part in (*was.partitions, *reversed(was.branches)):
        yield _unless_whole(wanted, part, _attach(wanted, part))


def _unless_whole(wanted: Wanted, part: Table, step: Step) -> Step:
    """The step, done too where the server gave a partition that came its part, by a name of its own."""

    def done(live: Catalog) -> bool:
        mine = _part(wanted, part, live)
        return step.done(live) or (mine is not None and mine.attached_to is not None)

    return replace(step, done=done)


def _part(wanted: Wanted, table: Table, live: Catalog) -> Index | None:
    """What on a table belongs to the whole index: by its name, or as attached where the server made it."""
    mine = of(wanted, table)
    found = mine.find(live)
    if found is None:
        return None
    named = found.index(mine.name)
    if named is not None or table is wanted.was:
        return named
    up = _part(wanted, above(wanted.was, table), live)
    return next((one for one in found.indexes if up is not None and one.attached_to == up.name), None)


def drop(wanted: Wanted) -> Iterator[Step]:
    """Drop it with all that is attached, and then what a broken-off walk has not attached yet.

    What a partition has lent is there again afterwards.
    """
    lent = {part.oid: index for part in wanted.was.partitions if (index := _lent(wanted, part))}
    for part in wanted.was.partitions:
        if part.oid in lent:
            yield _build_again(wanted, part, lent[part.oid])
    for part in (wanted.was, *wanted.was.branches):
        yield _drop_whole(wanted, part)
    for part in wanted.was.partitions:
        if part.oid in lent:
            yield _give_back(wanted, part, lent[part.oid])
        else:
            yield indexes.drop(of(wanted, part))


def of(wanted: Wanted, part: Table) -> Wanted:
    """The part of an index that is on a partition, under the name it has or will have."""
    if part is wanted.was:
        return wanted
    lent = _lent(wanted, part)
    return replace(_to_build(wanted, part), name=lent.name) if lent else _to_build(wanted, part)


def _to_build(wanted: Wanted, part: Table) -> Wanted:
    return replace(wanted, was=part, name=names.part_of(wanted.name, part))


def _lent(wanted: Wanted, part: Table) -> Index | None:
    """An index of the partition's own, from before, that can become its part and be built again."""
    found = _to_build(wanted, part).in_place(part) if part.kind != "p" else None
    # What hangs on an index by its name would be lost with it on the way back: such a one is left alone.
    return None if found is None or found.comment or found.clustered or found.replica_identity else found


def _unattached(wanted: Wanted, part: Table, name: str, live: Catalog) -> bool:
    """Whether an index of a partition stands by itself; also once the partition is none any more."""
    table = of(wanted, part).find(live)
    index = table.index(name) if table is not None else None
    return table is None or (index is not None and index.valid and index.attached_to is None)


def _build_again(wanted: Wanted, part: Table, lent: Index) -> Step:
    again = replace(
        of(wanted, part), name=names.returning(lent.name), options=lent.options, tablespace=lent.tablespace
    )
    step = indexes.build(again)

    def done(live: Catalog) -> bool:
        return step.done(live) or _unattached(wanted, part, lent.name, live)

    return replace(step, done=done)


def _give_back(wanted: Wanted, part: Table, lent: Index) -> Step:
    return Step(
        what=f"{wanted.table}: {part.name} has its index {lent.name} for itself again",
        statement=RENAMING.rename_index.compose(
            name=sql.Identifier(part.schema_, names.returning(lent.name)), to=sql.Identifier(lent.name)
        ),
        lock="SHARE UPDATE EXCLUSIVE",
        done=lambda live: _unattached(wanted, part, lent.name, live),
        tables=(part.identifier,),
    )


def above(was: Table, part: Table) -> Table:
    """The table right above a partition of `was`."""
    return next((b for b in was.branches if (b.schema_, b.name) == part.under), was)


def _on_only(wanted: Wanted) -> Step:
    def done(live: Catalog) -> bool:
        table = wanted.find(live)
        index = table.index(wanted.name) if table is not None else None
        return table is None or (index is not None and wanted.is_like(index))

    return Step(
        what=f"{wanted.table}: index {wanted.name} on {wanted.was.name}, without its partitions",
        statement=STATEMENTS.create_index_on_only.compose(
            name=sql.Identifier(wanted.name),
            table=wanted.was.identifier,
            columns=columns_of(wanted.columns),
            include=include_of(wanted.include),
        ),
        lock="SHARE",
        done=done,
        tables=(wanted.was.identifier,),
    )


def _attach(wanted: Wanted, part: Table) -> Step:
    mine, up = of(wanted, part), of(wanted, above(wanted.was, part))

    def done(live: Catalog) -> bool:
        table = mine.find(live)
        return table is None or any(index.attached_to == up.name for index in table.indexes)

    return Step(
        what=f"{wanted.table}: attach {mine.name} to {up.name}",
        statement=STATEMENTS.attach_index.compose(
            name=sql.Identifier(up.was.schema_, up.name), part=sql.Identifier(part.schema_, mine.name)
        ),
        lock="ACCESS EXCLUSIVE",
        done=done,
        tables=(part.identifier,),
    )


def _drop_whole(wanted: Wanted, part: Table) -> Step:
    mine = of(wanted, part)

    def done(live: Catalog) -> bool:
        table = mine.find(live)
        return table is None or table.index(mine.name) is None

    return Step(
        what=f"{wanted.table}: drop index {mine.name}, and what is attached to it",
        statement=STATEMENTS.drop_partitioned_index.compose(name=sql.Identifier(part.schema_, mine.name)),
        lock="ACCESS EXCLUSIVE",
        done=done,
        tables=whole(wanted.was),
    )
