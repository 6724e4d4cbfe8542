"""The plan's indexes, built while everybody works.

Will do: every index of the plan, CONCURRENTLY, several tables side by side (`control.lanes`), then the unique
index of each new primary key, and each that is to hold within a tenant. Those come last of all: from then on
until the keys are swapped two unique keys stand side by side, and concurrent upserts of one new key get 23505
from the one that is not their arbiter.
Gate: every partition is known; those that came meanwhile are taken along (`control.arrivals`). Undoing:
dropped CONCURRENTLY, except those that were there before the migration. An index of another name that is like
one of the plan is adopted: the plan's is not built, and the way back leaves the other one alone.

A partitioned table's index is built partition by partition (`control.partitioned_indexes`); its key's unique
indexes stay apart from each other until `keys` makes them one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from control import names, partitioned_indexes
from control.indexes import Wanted, build, drop, key_index, unless_adopted
from control.jobs import parts
from control.keys import unique
from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.stage import Closed, Ground, Lane, Step
from sql.postgres import catalog
from sql.postgres.facts import Catalog

#: What is built side by side: the plan's own indexes, and when the last of them stands those of the keys.
_PLAN, _KEYS = "indexes", "key indexes"


class Indexes:
    """The stage `indexes`."""

    name = "indexes"

    def gate(self, ground: Ground) -> Closed | None:
        """No partition may have come that the stage would leave out."""
        live = catalog.read(ground.connection, [table.name for table in ground.plan.tables])
        return partitioned_indexes.others(ground.plan, ground.original, live)

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """Every index of every table, the unique ones for the new keys last."""
        for wanted in _of_the_plan(plan, original):
            steps = partitioned_indexes.build(wanted) if wanted.was.kind == "p" else [build(wanted)]
            yield from _beside(_PLAN, wanted.table, unless_adopted(wanted, steps))
        yield from key_indexes(plan, original)

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """What the stage built and was not there before."""
        for table in plan.tables:
            for wanted in _for_the_key(table, original):
                yield drop(wanted)
            for _, new in unique.pairs_of(plan, table, original.table(table.name)):
                yield drop(new.index)
        for wanted in reversed(list(_of_the_plan(plan, original))):
            before = wanted.was.index(wanted.name)
            if before is not None and before.valid:
                continue
            if wanted.was.kind == "p":
                yield from partitioned_indexes.drop(wanted)
            else:
                yield drop(wanted)


def key_indexes(plan: Plan, original: Catalog) -> Iterator[Step]:
    """The unique indexes of each new primary key and `unique`; done, too, once they have taken the place."""
    for table in plan.tables:
        uniques = [new for _, new in unique.pairs_of(plan, table, original.table(table.name))]
        keys = map(build, _for_the_key(table, original))
        yield from _beside(_KEYS, table.name, [*keys, *map(unique.build, uniques)])


def _beside(group: str, table: str, steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        yield replace(step, lane=Lane(group, table))


def _of_the_plan(plan: Plan, original: Catalog) -> Iterator[Wanted]:
    for table in plan.tables:
        for index in table.indexes:
            yield Wanted(table.name, original.table(table.name), index.name, index.columns)


def _for_the_key(table: PlanTable, original: Catalog) -> Iterator[Wanted]:
    """The unique index of the new key, on each partition; none where the key stays as it is."""
    was = original.table(table.name)
    old = was.primary_key
    if table.primary_key is None or (old is not None and old.columns == table.primary_key):
        return
    for part in parts(was):
        yield key_index(table.name, part, table.primary_key, names.incoming(names.primary_key(part)))


STAGE = Indexes()
