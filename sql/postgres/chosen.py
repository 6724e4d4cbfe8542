"""Which rows an assignment moves, as SQL about a row called `t`, and the notes that it keeps of them.

A row goes along with the one that it names: a batch tells by the notes, which say what has gone so far. So
what was decided once, when a row at the top moved, holds for all below it, whatever the application changes
meanwhile.
"""

from collections.abc import Sequence

from psycopg import sql

from sql.job import JobSpec, KeyColumn, Link, Moving
from sql.named import plain
from sql.postgres.connection import literal
from sql.postgres.source import ROW

#: Told to the guard's followers: what they would do is being done, in batches.
ASSIGNING = sql.SQL(", set_config('tenantry.assigning', 'on', true)")


def left(spec: JobSpec, moving: Moving) -> sql.Composable:
    """Whether a row is still to be moved, copied or removed."""
    is_open = is_noted(moving.assignment, spec.named, "t", spec.own_key, open_only=True)
    match moving.step:
        case "move":
            conditions = [_of(spec, moving.from_), _chosen(spec, moving)]
        case "copy":
            noted = is_noted(moving.assignment, spec.named, "t", spec.own_key)
            waits = [sql.SQL("NOT {}").format(_uncopied(spec, moving, link)) for link in moving.first]
            conditions = [
                _of(spec, moving.from_),
                _chosen(spec, moving),
                sql.SQL("NOT ({})").format(noted),
                *waits,
            ]
        case "remove":
            still = [_pointed_to(spec, moving, link) for link in moving.below]
            conditions = [_of(spec, moving.from_), is_open, *(sql.SQL("NOT {}").format(one) for one in still)]
        case "withdraw":
            conditions = [_of(spec, moving.to), is_open]
    return plain(sql.SQL(" AND ").join(conditions))


def _of(spec: JobSpec, tenant: str) -> sql.Composed:
    return sql.SQL("{}.{} = {}").format(ROW, sql.Identifier(spec.tenant_column), literal(tenant))


def _chosen(spec: JobSpec, moving: Moving) -> sql.Composable:
    """Whether the operator asked for the row, or it goes along with one that has gone."""
    ways: list[sql.Composable] = []
    if moving.where is not None:
        ways.append(sql.SQL("coalesce(({}), false)").format(sql.SQL(moving.where)))
    if moving.noted_by is not None:
        ways.append(is_noted(moving.noted_by, spec.named, "t", spec.own_key))
    ways += [_goes_along(link, moving.assignment) for link in moving.above]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(ways))


def _goes_along(link: Link, assignment: int) -> sql.Composed:
    return sql.SQL("EXISTS (SELECT FROM {} AS r WHERE {} AND {})").format(
        sql.Identifier(link.schema_, link.table),
        _matches(link, "r"),
        is_noted(assignment, link.named, "r", link.identity),
    )


def _uncopied(spec: JobSpec, moving: Moving, link: Link) -> sql.Composed:
    """Whether a row names another of its table that has no copy yet."""
    return sql.SQL("EXISTS (SELECT FROM {} AS r WHERE {} AND r.{} = {}{} AND NOT ({}))").format(
        sql.Identifier(link.schema_, link.table),
        _matches(link, "r"),
        sql.Identifier(spec.tenant_column),
        literal(moving.from_),
        _not_itself(spec),
        is_noted(moving.assignment, link.named, "r", link.identity),
    )


def _pointed_to(spec: JobSpec, moving: Moving, link: Link) -> sql.Composed:
    return sql.SQL("EXISTS (SELECT FROM {} AS r WHERE {} AND r.{} = {}{})").format(
        sql.Identifier(link.schema_, link.table),
        _matches(link, "r"),
        sql.Identifier(spec.tenant_column),
        literal(moving.from_),
        _not_itself(spec) if link.named == spec.named else sql.SQL(""),
    )


def _not_itself(spec: JobSpec) -> sql.Composed:
    """The topmost row of a tree may name itself: it comes and goes with itself."""
    key = [sql.Identifier(column.name) for column in spec.own_key]
    ours, theirs = (
        [sql.SQL("{}.{}").format(row, name) for name in key] for row in (ROW, sql.Identifier("r"))
    )
    return sql.SQL(" AND ({}) <> ({})").format(sql.SQL(", ").join(theirs), sql.SQL(", ").join(ours))


def _matches(link: Link, alias: str) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{}.{} = {}.{}").format(
            sql.Identifier(alias), sql.Identifier(theirs), ROW, sql.Identifier(ours)
        )
        for ours, theirs in link.pairs
    )


def is_noted(
    assignment: int, table: str, alias: str, key: Sequence[KeyColumn], *, open_only: bool = False
) -> sql.Composed:
    """Whether an assignment has noted the row called `alias`, by its key without the tenant.

    With `open_only` as one that was copied, and not removed yet.

    As a value, which is looked up for each row: EXISTS is joined, and where nothing is known of the notes yet
    in the wrong order (1,000 rows: 1.7 s, for each note a scan of the table).
    """
    return sql.SQL(
        "(SELECT a.assignment FROM tenantry.assigned AS a"
        " WHERE a.assignment = {} AND a.of_table = {} AND a.key = {}{}) IS NOT NULL"
    ).format(
        sql.Literal(assignment),
        sql.Literal(table),
        own_key(alias, key),
        sql.SQL(" AND NOT a.settled" if open_only else ""),
    )


def own_key(alias: str, key: Sequence[KeyColumn]) -> sql.Composed:
    """What tells a row whatever its tenant, as notes keep it."""
    return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(_text(alias, column) for column in key))


def _text(alias: str, column: KeyColumn) -> sql.Composed:
    """A column of a key as text that is the same in every session: a moment is written in its time zone."""
    found = sql.SQL("{}.{}").format(sql.Identifier(alias), sql.Identifier(column.name))
    if column.type.startswith("timestamp") and column.type.endswith("with time zone"):
        return sql.SQL("({} AT TIME ZONE 'UTC')::text").format(found)
    return sql.SQL("{}::text").format(found)


def settling(spec: JobSpec, moving: Moving, removed: str) -> sql.Composable:
    """The part of a batch that says in the notes what it removed: the rows of the CTE called `removed`."""
    statement = sql.SQL(
        ", settled AS (UPDATE tenantry.assigned AS a SET settled = true FROM {removed}"
        " WHERE a.assignment = {} AND a.of_table = {} AND a.key = {removed}.key)"
    )
    return plain(
        statement.format(
            sql.Literal(moving.assignment), sql.Literal(spec.named), removed=sql.Identifier(removed)
        )
    )


def noting(spec: JobSpec, moving: Moving, moved: str) -> sql.Composable:
    """The part of a batch that notes what it moved: the rows of the CTE called `moved`, by their `own_key`.

    Nothing for a table without a key, whose rows nobody points to.
    """
    if not spec.own_key:
        return sql.SQL("")
    statement = sql.SQL(
        ", noted AS (INSERT INTO tenantry.assigned (assignment, of_table, key) SELECT {}, {}, key FROM {}"
        " ON CONFLICT DO NOTHING)"
    )
    return plain(
        statement.format(sql.Literal(moving.assignment), sql.Literal(spec.named), sql.Identifier(moved))
    )
