"""The schema as a stage will leave it, worked out without touching the file."""

from control.plan.model import Plan
from control.sqlite.stage import start
from control.sqlite.stages.columns import add
from sql.sqlite.altering import altered
from sql.sqlite.facts import Catalog, Column
from sql.sqlite.names import literal


def after_columns(plan: Plan, original: Catalog) -> Catalog:
    """The schema with the tenant columns in it.

    Raises:
        sqlite3.OperationalError: a table needs a function that only the application has.
    """
    tables = dict(original.tables)
    for table in plan.tables:
        was = original.table(table.name)
        if was.column(plan.tenant.column) is not None:
            continue
        value = start(plan, table)
        column = Column(
            name=plan.tenant.column,
            type="TEXT",
            not_null=value is not None,
            default=None if value is None else literal(value),
            key=0,
            generated=False,
        )
        text = altered(was.sql, add(plan, table, was).statements[0])
        tables[was.name] = was.model_copy(update={"sql": text, "columns": (*was.columns, column)})
    return original.model_copy(update={"tables": tables})
