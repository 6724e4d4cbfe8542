"""The keys that will hold the tenant: which foreign keys lead to them, and which of these can't follow."""

from collections.abc import Iterator

from control.preflight.finding import Finding, none_of
from control.sqlite.crossing import edges, stays
from control.sqlite.rebuild.sides import sides
from control.sqlite.stage import Ground
from sql.errors import CatalogError, PlanError
from sql.sqlite import preflight
from sql.sqlite.facts import ForeignKey, Table
from sql.sqlite.names import folded

#: Actions that would empty the tenant of a row with the rest of its foreign key.
_EMPTYING = ("SET NULL", "SET DEFAULT")


def look(ground: Ground) -> Iterator[Finding]:
    """Every fact about the foreign keys onto keys that change."""
    inside, outside = list[tuple[Table, ForeignKey]](), list[tuple[Table, ForeignKey]]()
    planned = {folded(table.name): table for table in ground.plan.tables}
    for table in ground.plan.tables:
        if table.primary_key is None:
            continue
        for other, key in ground.original.pointing_to(table.name):
            follower = planned.get(folded(other.name))
            leaves = (
                follower is None
                or follower.primary_key is None
                or stays(ground.plan, ground.original, other.name, key)
            )
            (outside if leaves else inside).append((other, key))
    yield none_of(
        "foreign keys that empty the tenant",
        [
            f"{_told(other, key)} ON {when} {action}"
            for other, key in inside
            for when, action in (("DELETE", key.on_delete), ("UPDATE", key.on_update))
            if action in _EMPTYING
        ],
        level="stop",
        way_out="with the tenant in the foreign key the action would empty the tenant, too, and SQLite "
        "can't name the "
        "columns that it empties: declare it with NO ACTION or CASCADE first, leave primary_key of what it "
        "names out, "
        'or say tenant.cross_tenant = "source", which leaves foreign keys that tell no tenant as they are',
        fine=f"none; {len(inside)} will hold the tenant",
    )
    yield none_of(
        "foreign keys that stay on the id alone",
        [_told(other, key) for other, key in outside],
        level="warn",
        way_out="for their sake the old key stays unique in all tenants together: take those tables "
        "into the plan, "
        "or know that no two tenants can have the same id",
        fine="none",
    )
    yield _edges(ground)
    yield _sides(ground)
    yield _schema(ground)


def _edges(ground: Ground) -> Finding:
    found = [
        _told(ground.original.table(edge.table), edge.key) for edge in edges(ground.plan, ground.original)
    ]
    return Finding("pass", "edges", f"looked along for other tenants: {', '.join(found) or 'none'}")


def _sides(ground: Ground) -> Finding:
    """Whether both sides of what `keys` changes can be written."""
    name = "tables with new keys"
    try:
        wanted = sides(ground.plan, ground.original)
    except (PlanError, CatalogError) as error:
        return Finding("stop", name, str(error), "correct the plan")
    told = [
        f"{one.name} (its rowid stays its key, and gets a unique one beside it)"
        if ground.original.table(one.name).rowid_alias
        else one.name
        for one in wanted.tables
    ]
    return Finding("pass", name, ", ".join(told) or "none")


def _schema(ground: Ground) -> Finding:
    """A table with a new key is put in the old one's place by the schema's own rows."""
    if preflight.may_write_schema(ground.connection):
        return Finding("pass", "schema", "may be written")
    way_out = "run with a Python whose sqlite3 isn't (python.org's, or that of a Linux distribution)"
    return Finding("stop", "schema", "this SQLite is built to be defensive and lets nobody write it", way_out)


def _told(table: Table, key: ForeignKey) -> str:
    return f"{table.name} ({', '.join(key.columns)}) to {key.target}"
