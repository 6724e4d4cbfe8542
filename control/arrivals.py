"""Partitions that come while the migration runs, as those of every new day do: they are taken along.

What the server gives a new partition by itself is there: the column with its default, the guard, the indexes
of the whole. What it does not give is the key to come and the policy. So the tables of before are read as if
such a partition had been there from the beginning, without what the migration has made; every stage then goes
over it as over the others, there and back, and finds done what the server did. Nothing of this is kept: the
catalog says it.
"""

from control import names
from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.policies import Target
from sql.postgres import catalog
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog, Table


def taken_along(connection: Connection, plan: Plan, original: Catalog) -> Catalog:
    """The catalog of before, with the partitions that have come since."""
    parted = [name for name, table in original.tables.items() if table.kind == "p"]
    if not parted:
        return original
    live = catalog.read(connection, parted).tables
    with_them = {
        name: _joined(plan, plan.table(name), original.tables[name], live[name])
        for name in parted
        if name in live
    }
    return original.model_copy(update={"tables": {**original.tables, **with_them}})


def newcomers(was: Table, now: Table) -> list[Table]:
    """The partitions of a table, at whatever level, that were not there before."""
    known = {(part.schema_, part.name) for part in (*was.branches, *was.partitions)}
    return [part for part in (*now.branches, *now.partitions) if (part.schema_, part.name) not in known]


def _joined(plan: Plan, table: PlanTable, was: Table, now: Table) -> Table:
    come = [_as_before(plan, table, was, part) for part in newcomers(was, now)]
    # A lower branch stands after the one above it, and so those that came go last.
    return was.model_copy(
        update={
            "branches": (*was.branches, *(part for part in come if part.kind == "p")),
            "partitions": (*was.partitions, *(part for part in come if part.kind != "p")),
        }
    )


def _as_before(plan: Plan, table: PlanTable, was: Table, part: Table) -> Table:
    """A partition as it would have been before the migration."""
    tenant = plan.tenant.column
    column, key = was.column(tenant), part.primary_key
    changes: dict[str, object] = {
        "columns": tuple(
            column if one.name == tenant else one
            for one in part.columns
            if one.name != tenant or column is not None
        ),
        "triggers": tuple(one for one in part.triggers if one.name not in names.GUARD_TRIGGERS),
    }
    if column is None:
        changes["indexes"] = tuple(
            one for one in part.indexes if tenant not in one.columns or (key and one.name == key.index)
        )
    if key is not None and table.primary_key is not None and key.columns == table.primary_key:
        old = was.primary_key
        changes["constraints"] = tuple(
            one.model_copy(update={"columns": old.columns}) if one is key and old is not None else one
            for one in part.constraints
            if one is not key or old is not None
        )
    if table.rls is not None:
        ours = Target(table.name, table.rls, was).ours | Target(table.name, table.rls, part).ours
        others = tuple(policy for policy in part.policies if policy.name not in ours)
        had = part.row_security and bool(others)
        put = part.policy(table.rls.policy) is not None
        admitted = len(part.policies) - len(others) > 1
        changes |= {
            "policies": others,
            "row_security": had or (part.row_security and not put),
            "forced": part.forced and not admitted and (had or not put),
        }
    return part.model_copy(update=changes)
