"""The tenant column, and the write guard that gives rows of the old code their tenant.

Will do: add the column to every table that hasn't got it, with the constant tenant as its default, which
answers for the rows that are there too; then the write guard of tables with a derived tenant. Gate: none of
its own. Undoing: the guard goes, then the column, unless it was there before.
"""

from collections.abc import Iterator
from pathlib import Path

import sql.sqlite
from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.sqlite import guard
from control.sqlite.stage import Ground, Step, start
from control.stage import Closed
from sql.named import load
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.names import literal, quoted

STATEMENTS = load(Path(sql.sqlite.__file__).parent, "columns")


class Columns:
    """The stage `columns`."""

    name = "columns"

    def gate(self, ground: Ground) -> Closed | None:  # noqa: ARG002  # adding takes nothing away
        """Nothing but the stages before it."""
        return None

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """Every column, then every guard."""
        for table in plan.tables:
            was = original.table(table.name)
            if was.column(plan.tenant.column) is None:
                yield add(plan, table, was)
        yield from guard.put(plan, original)

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """Every guard, then every column, children before their parents."""
        yield from guard.drop(plan, original)
        for table in reversed(plan.tables):
            was = original.table(table.name)
            if was.column(plan.tenant.column) is None:
                yield _drop(plan, was)


def add(plan: Plan, table: PlanTable, was: Table) -> Step:
    """The step that gives a table the column."""
    value = start(plan, table)
    column = plan.tenant.column
    return Step(
        what=f"{table.name}: add {column}",
        statements=(
            STATEMENTS.add_column.filled(
                table=quoted(was.name),
                column=quoted(column),
                not_null="" if value is None else " NOT NULL",
                default="" if value is None else f" DEFAULT {literal(value)}",
            ),
        ),
        done=lambda live: live.catalog.table(was.name).column(column) is not None,
    )


def _drop(plan: Plan, was: Table) -> Step:
    column = plan.tenant.column
    return Step(
        what=f"{was.name}: drop {column}",
        statements=(STATEMENTS.drop_column.filled(table=quoted(was.name), column=quoted(column)),),
        done=lambda live: live.catalog.table(was.name).column(column) is None,
    )


STAGE = Columns()
