"""The plan's indexes on the tables that stay as they are; those of tables with a new key come with it.

Will do: each index that isn't there yet, under whatever name, in a transaction of its own, for as long as
SQLite builds it. A table that `keys` makes anew would have it built twice: its indexes are made on the new
table. Gate: none of its own. Undoing: what the stage made goes; an index that was there before stays.
"""

from collections.abc import Iterator

from control.course import actor
from control.plan.model import Plan
from control.plan.sections import Index as PlanIndex
from control.sqlite.indexes import STATEMENTS, create, found
from control.sqlite.rebuild.sides import rebuilt
from control.sqlite.stage import Ground, Live, Step
from control.stage import Closed
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.names import quoted
from worker import audit


class Indexes:
    """The stage `indexes`."""

    name = "indexes"

    def gate(self, ground: Ground) -> Closed | None:  # noqa: ARG002  # the protocol's
        """Nothing but the stages before it."""
        return None

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """Every index of every table that isn't made anew."""
        anew = rebuilt(plan, original)
        for table in plan.tables:
            if table.name not in anew:
                for index in table.indexes:
                    yield _build(index, original.table(table.name))

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """What was not there before."""
        for table in reversed(plan.tables):
            was = original.table(table.name)
            for index in reversed(table.indexes):
                if found(index, was) is None:
                    yield _drop(index, was)

    def work(self, ground: Ground) -> None:
        """Say which indexes come later."""
        for told in later(ground.plan, ground.original):
            ground.notify(told)
            audit.record(ground.connection, ground.migration, actor(), "indexes", told)


STAGE = Indexes()


def later(plan: Plan, original: Catalog) -> Iterator[str]:
    """What is said of the indexes that are made in `keys`, a line for each table."""
    anew = rebuilt(plan, original)
    for table in plan.tables:
        if table.name in anew and table.indexes:
            names = ", ".join(index.name for index in table.indexes)
            yield f"{table.name}: {names} will be made in keys, with the table that has the new key"


def _build(index: PlanIndex, was: Table) -> Step:
    return Step(
        what=f"{was.name}: build {index.name}",
        statements=(create(index, was),),
        done=lambda live: found(index, live.catalog.table(was.name)) is not None,
    )


def _drop(index: PlanIndex, was: Table) -> Step:
    def is_gone(live: Live) -> bool:
        return live.catalog.table(was.name).index(index.name) is None

    return Step(
        what=f"{was.name}: drop {index.name}",
        statements=(STATEMENTS.drop_index.filled(index=quoted(index.name)),),
        done=is_gone,
    )


STAGE = Indexes()
