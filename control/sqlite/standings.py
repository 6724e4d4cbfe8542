"""Who the tenants of a SQLite file are, as `control.tenants.listing` tells it of a server."""

from control.plan.model import Plan
from control.sqlite.steps import look
from control.tenants.listing import Standing, gathered, there
from sql.sqlite import tenants
from sql.sqlite.connection import File


def standings(file: File, plan: Plan) -> list[Standing]:
    """Read every tenant of the plan's tables, and every one that is enabled, the largest first.

    Raises:
        GateClosedError: the tables have no tenant column yet.
        PlanError: a table of the plan isn't there.
    """
    column, live = plan.tenant.column, look(file, plan)
    there(column, {one.name: live.table(one.name).column(column) is not None for one in plan.tables})
    with file.snapshot():
        rows = {one.name: tenants.rows(file, live.table(one.name), column) for one in plan.tables}
        return gathered(rows, tenants.enabled(file))
