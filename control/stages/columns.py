"""The tenant column, and the write guard that fills it for code that does not know it.

Will do: add the column to each table, one table per transaction, then put the guard in its place before the
backfill begins. A constant tenant on a table without the column needs no backfill at all: its default is
the constant, and PostgreSQL answers it for every row that is there. Gate: none. Undoing: the guard goes, then
the column; a column that was there before stays, with the default it had.
"""

from collections.abc import Iterator
from dataclasses import replace

from psycopg import sql

from control import guard
from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.stage import Closed, Ground, Step
from sql.postgres.columns import STATEMENTS
from sql.postgres.connection import literal
from sql.postgres.facts import Catalog, Table


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
                yield _add(plan, table, was)
                yield _default_again(plan, table, was)
            else:
                yield guard.starting_default(plan, table, was)
        yield from guard.triggers(plan, original)

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """Every guard, then every column, children before their parents' tenants are gone."""
        yield from guard.drop(plan, original)
        for table in reversed(plan.tables):
            was = original.table(table.name)
            column = was.column(plan.tenant.column)
            if column is None:
                yield _drop(plan, table, was)
            else:
                yield from guard.original_default(plan, table, was, column)


def nullable(plan: Plan, table: PlanTable) -> bool:
    """Whether the stage adds the column without NOT NULL: only a NULL sentinel asks for it."""
    return guard.start(plan, table) is None


def _add(plan: Plan, table: PlanTable, was: Table) -> Step:
    start = guard.start(plan, table)
    return Step(
        what=f"{table.name}: add {plan.tenant.column}",
        statement=STATEMENTS.add_column.compose(
            table=was.identifier,
            column=sql.Identifier(plan.tenant.column),
            not_null=sql.SQL("" if nullable(plan, table) else " NOT NULL"),
            default=sql.SQL("") if start is None else sql.SQL(" DEFAULT {}").format(literal(start)),
        ),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: live.table(table.name).column(plan.tenant.column) is not None,
        tables=(was.identifier,),
    )


def _default_again(plan: Plan, table: PlanTable, was: Table) -> Step:
    """The default of a column that a way back has left there with the sentinel's."""
    step = guard.starting_default(plan, table, was)

    def done(live: Catalog) -> bool:
        return live.table(table.name).column(plan.tenant.column) is None or step.done(live)

    return replace(step, done=done)


def _drop(plan: Plan, table: PlanTable, was: Table) -> Step:
    return Step(
        what=f"{table.name}: drop {plan.tenant.column}",
        statement=STATEMENTS.drop_column.compose(
            table=was.identifier, column=sql.Identifier(plan.tenant.column)
        ),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: live.table(table.name).column(plan.tenant.column) is None,
        tables=(was.identifier,),
    )


STAGE = Columns()
