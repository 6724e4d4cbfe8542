"""Asks what `check` wants to know: the server, the tables, and the tenants that their rows will have."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from sql.errors import CatalogError
from sql.named import load, plain
from sql.postgres.connection import Connection
from sql.postgres.planned import PLACE, TENANT
from sql.postgres.source import matches

STATEMENTS = load(Path(__file__).parent, "preflight")


@dataclass(frozen=True, slots=True)
class Rights:
    """What the role of this session is and may do."""

    role: str
    superuser: bool
    bypasses: bool
    monitors: bool
    makes_schemas: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is set to."""

    counts_functions: bool
    autovacuum: bool
    read_only: bool


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication with the tables of the plan in it; `subscribed` if this database has a logical slot."""

    publication: str
    subscribed: bool


@dataclass(frozen=True, slots=True)
class Crossing:
    """Rows whose parent will be another tenant's, and one value that they name it by."""

    rows: int
    example: str | None


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Keys that several rows have, those of them that are of several tenants (`torn`), and a few of them."""

    keys: int
    torn: int
    examples: list[str]


def rights(connection: Connection) -> Rights:
    """The rights of this session's role."""
    with connection.cursor(row_factory=class_row(Rights)) as cursor:
        found = cursor.execute(STATEMENTS.rights.compose()).fetchone()
    if found is None:
        raise CatalogError("the role of this session is not in pg_roles")
    return found


def settings(connection: Connection) -> Settings:
    """The settings that matter."""
    with connection.cursor(row_factory=class_row(Settings)) as cursor:
        found = cursor.execute(STATEMENTS.settings.compose()).fetchone()
    if found is None:
        raise CatalogError("a SELECT without FROM gave no row")
    return found


def may_count(connection: Connection) -> bool:
    """Whether unscoped access can be counted: by the function's own setting, or by the server's."""
    if settings(connection).counts_functions or rights(connection).superuser:
        return True
    # Before 15 only a superuser may set it.
    return connection.info.server_version >= 150_000 and _lines(connection, "may_set") == [True]


def publications(connection: Connection, tables: Sequence[int]) -> list[Publication]:
    """Publications that hold one of these tables (oids)."""
    with connection.cursor(row_factory=class_row(Publication)) as cursor:
        return cursor.execute(STATEMENTS.publications.compose(), {"tables": list(tables)}).fetchall()


def not_owned(connection: Connection, tables: Sequence[int]) -> list[str]:
    """Those of the tables (oids) whose owner this role can't act as."""
    return _lines(connection, "not_owned", tables=list(tables))


def closed_schemas(connection: Connection, tables: Sequence[int]) -> list[str]:
    """Schemas of the tables (oids) in which this role can't make an index, whoever owns the table."""
    return _lines(connection, "closed_schemas", tables=list(tables))


def open_schemas(connection: Connection, schemas: Iterable[str]) -> list[str]:
    """Which of these schemas, and of those that names are looked for in, everybody may create in."""
    return _lines(connection, "open_schemas", schemas=sorted(set(schemas)))


def trees(connection: Connection, tables: Sequence[int]) -> list[int]:
    """The tables (oids) and all their partitions, those between the levels too."""
    return _lines(connection, "trees", tables=list(tables))


def partitioned_by(connection: Connection, tables: Sequence[int], column: str) -> list[str]:
    """Those of the tables (oids) whose rows lie in one partition or another by that column."""
    return _lines(connection, "partitioned_by", tables=list(tables), column=column)


def update_rules(connection: Connection, tables: Sequence[int], *, held: bool) -> list[str]:
    """Rules ON UPDATE of the tables (oids) that are in force where triggers are held off, or aren't."""
    return _lines(connection, "update_rules", tables=list(tables), held=held)


def may_hold_triggers(connection: Connection) -> bool:
    """Whether this role may set `session_replication_role`: tried, for some hosts let others too."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(STATEMENTS.hold_triggers.compose())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def long_transactions(connection: Connection, seconds: float) -> list[str]:
    """Sessions of this database in a transaction older than that."""
    return _lines(connection, "long_transactions", seconds=seconds)


def prepared_transactions(connection: Connection) -> list[str]:
    """Transactions of this database that wait for COMMIT PREPARED."""
    return _lines(connection, "prepared_transactions")


def bypassing_sessions(connection: Connection) -> list[str]:
    """Client sessions of roles that no policy holds."""
    return _lines(connection, "bypassing_sessions")


def taken_names(connection: Connection, schema: str, names: Sequence[str]) -> list[str]:
    """Those of the names that a relation of the schema has."""
    return _lines(connection, "taken_names", schema=schema, names=list(names))


def breaking(connection: Connection, tenants: Sequence[str], pattern: str) -> list[str]:
    """Those of the tenants that break the pattern.

    Raises:
        psycopg.errors.InvalidRegularExpression: the server can't read the pattern.
    """
    return _lines(connection, "is_pattern", tenants=list(tenants), pattern=pattern)


def limit(connection: Connection, milliseconds: int) -> None:
    """Let no statement of this transaction run longer."""
    connection.execute(STATEMENTS.statement_timeout.compose(), {"milliseconds": milliseconds})


def explain(connection: Connection, rows: sql.Composable) -> str | None:
    """What the server says against the tenant source of a `planned` table; None if it can plan it."""
    return _refused(connection, STATEMENTS.explain_source.compose(rows=rows, tenant=TENANT))


def _refused(connection: Connection, statement: sql.Composed) -> str | None:
    try:
        # Prepared, because the protocol then takes one statement only: none can hide behind a semicolon.
        connection.execute(statement, prepare=True)
    except (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError) as error:
        return error.diag.message_primary
    return None


def not_compared(
    connection: Connection, ours: sql.Composable, theirs: sql.Composable, pairs: sql.Composable
) -> str | None:
    """What the server says against comparing columns of two tables; None if it can."""
    statement = STATEMENTS.explain_join.compose(ours=ours, theirs=theirs, pairs=pairs)
    return _refused(connection, statement)


def explain_value(connection: Connection, value: sql.Composable, rows: sql.Composable) -> str | None:
    """What the server says against a value of rows called `t`; None if it can plan it."""
    return _refused(connection, STATEMENTS.explain_value.compose(value=value, rows=rows))


def without_generated(table: sql.Identifier, kept: Sequence[sql.Identifier]) -> sql.Composed:
    """A table as the write guard sees its new rows, for a FROM: with those columns that are not generated."""
    columns = sql.SQL(", ").join(sql.SQL("s.{}").format(column) for column in kept)
    return STATEMENTS.without_generated.compose(columns=columns, table=table)


def ambiguous(
    connection: Connection,
    rows: sql.Composable,
    columns: Sequence[str],
    tenant: sql.Composable,
    *,
    pattern: str,
) -> Ambiguous:
    """Count the values of `columns` that several rows have which tell a tenant; a row is called `r`."""
    statement = STATEMENTS.ambiguous.compose(
        rows=plain(rows),
        tenant=plain(tenant),
        key=plain(sql.SQL(", ").join(sql.SQL("r.{}").format(sql.Identifier(name)) for name in columns)),
    )
    with connection.cursor(row_factory=class_row(Ambiguous)) as cursor:
        found = cursor.execute(statement, {"pattern": pattern}).fetchone()
    if found is None:
        raise CatalogError("an aggregate gave no row")
    return found


def unresolved(connection: Connection, rows: sql.Composable, key: Sequence[str]) -> list[str]:
    """Keys of a few rows of `planned` whose tenant can't be worked out, or their places."""
    columns = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in key)
    named = sql.SQL("ROW({})").format(columns) if key else sql.SQL("t.{}").format(PLACE)
    statement = STATEMENTS.unresolved.compose(rows=rows, key=named, tenant=TENANT)
    return [line for (line,) in connection.execute(statement)]


def crossing(
    connection: Connection,
    child: sql.Composable,
    parent: sql.Composable,
    pairs: Sequence[tuple[str, str]],
    *,
    pattern: str,
) -> Crossing:
    """Count the rows of one `planned` table that name by `pairs` (ours, theirs) another tenant's row."""
    statement = STATEMENTS.crossing.compose(
        child=plain(child),
        parent=plain(parent),
        tenant=TENANT,
        example=plain(sql.SQL("child.{}").format(sql.Identifier(pairs[0][0]))),
        pairs=plain(matches(dict(pairs), "parent", "child")),
    )
    with connection.cursor(row_factory=class_row(Crossing)) as cursor:
        found = cursor.execute(statement, {"pattern": pattern}).fetchone()
    if found is None:
        raise CatalogError("an aggregate gave no row")
    return found


def _lines(connection: Connection, statement: str, **parameters: Any) -> list[Any]:
    composed = getattr(STATEMENTS, statement).compose()
    return [line for (line,) in connection.execute(composed, parameters or None)]
