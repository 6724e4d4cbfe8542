"""Tables that somebody dropped while the migration ran: once the plan leaves them out it goes on without.

A plan that names a table that isn't there stops every command. Once it is left out, the tables of before are
read as if it had never been among them, and what the ledger has of its work is forgotten.
"""

from control import following, guard
from control.course import actor
from control.plan.model import Plan
from control.stage import Ground
from control.steps import take
from sql.errors import GivenWrongError
from sql.postgres import catalog
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog, Table
from worker import audit, jobs, ledger
from worker.ledger import Migration


def left_out(plan: Plan, connection: Connection, known: Migration) -> list[str]:
    """The tables that the migration was begun with and the plan leaves out, if all of them are gone.

    Raises:
        GivenWrongError: one was renamed. It still has its column, and perhaps strict policies, which the way
            back would never find again.
    """
    missing = [name for name in known.tables if name not in {table.name for table in plan.tables}]
    if not missing or catalog.found(connection, missing):
        return []
    before = known.before(Catalog)
    for name in missing:
        now = catalog.called(connection, before.table(name))
        if now is not None:
            raise GivenWrongError(
                f"table {name} was not dropped, it is {now} now: give it its name and its place in the plan "
                "back, and rename it once the migration is finished or rolled back"
            )
    return missing


def without_departed(original: Catalog, plan: Plan) -> Catalog:
    """The catalog of before, without tables that the plan has left out, and their foreign keys."""
    names = {table.name for table in plan.tables}
    departed = {(t.schema_, t.name) for name, t in original.tables.items() if name not in names}
    if not departed:
        return original
    kept = {name: _unreferenced(table, departed) for name, table in original.tables.items() if name in names}
    return original.model_copy(update={"tables": kept})


def forget(ground: Ground, known: Migration) -> None:
    """Take what has left out of the ledger, with an entry in the audit; the guard's function goes with it."""
    before = known.before(Catalog)
    for name in left_out(ground.plan, ground.connection, known):
        live = catalog.read(ground.connection, [])
        take(following.drop_of_departed(before.table(name), live), ground, "columns")
        take(guard.drop_function(name, before.table(name)), ground, "columns")
        jobs.forget_parts(ground.connection, ground.migration, name, ())
        told = f"table {name} is gone, and left out of the plan: the migration goes on without it"
        audit.record(ground.connection, ground.migration, actor(), "amended", told)
        ground.notify(told)
    ledger.keep_tables(ground.connection, ground.migration, [table.name for table in ground.plan.tables])


def _unreferenced(table: Table, departed: set[tuple[str, str]]) -> Table:
    keys = tuple(key for key in table.referenced_by if (key.schema_, key.table) not in departed)
    return table.model_copy(update={"referenced_by": keys})
