"""Asks what `verify` wants to know, and tries isolation as a role that is nobody."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from sql.errors import CatalogError
from sql.named import Statement, load
from sql.postgres.connection import Connection
from sql.postgres.facts import Table

STATEMENTS = load(Path(__file__).parent, "verify")

Given = TypeVar("Given")


@dataclass(frozen=True, slots=True)
class Tenants:
    """A table by tenant: rows in all, without one (`unfilled`), with one that breaks the pattern."""

    total: int
    unfilled: int
    malformed: int
    malformed_tenants: list[str]
    tenants: int
    sample: list[str]

    @property
    def owned(self) -> int:
        """Rows that belong to a proper tenant."""
        return self.total - self.unfilled - self.malformed


def tenants(
    connection: Connection,
    table: sql.Composable,
    column: str,
    *,
    sentinel: str | None,
    pattern: str,
    some: int,
    named: Sequence[str],
) -> Tenants:
    """Count a table by tenant; the sample has `some` of the largest, the smallest and of those between."""
    with connection.cursor(row_factory=class_row(Tenants)) as cursor:
        cursor.execute(
            STATEMENTS.tenants.beside_parameters(table=table, column=sql.Identifier(column)),
            {"sentinel": sentinel, "pattern": pattern, "some": some, "named": list(named)},
        )
        return _only(cursor.fetchone())


def clock(connection: Connection) -> datetime:
    """The server's clock."""
    now: datetime = _only(connection.execute(STATEMENTS.clock.compose()).fetchone())[0]
    return now


def all_tenants(connection: Connection, table: sql.Composable, column: str) -> list[str]:
    """Every tenant that has a row."""
    statement = STATEMENTS.all_tenants.compose(table=table, column=sql.Identifier(column))
    return [tenant for (tenant,) in connection.execute(statement)]


def rows_of(
    connection: Connection, table: sql.Composable, column: str, wanted: Sequence[str]
) -> dict[str, int]:
    """How many rows each of these tenants has, as we see them."""
    statement = STATEMENTS.rows_of.beside_parameters(table=table, column=sql.Identifier(column))
    return dict(connection.execute(statement, {"tenants": list(wanted)}).fetchall())


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where it lies, and all of it as the server writes a record."""

    place: str
    row: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a statement: rows, or refused by policy or rights, or another error."""

    rows: int = 0
    refused: bool = False
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return self.error
        return "refused" if self.refused else f"{self.rows} rows"


class Nobody:
    """A session of a role that owns nothing and bypasses nothing; made by `nobody`, gone with its block."""

    def __init__(self, connection: Connection, role: sql.Identifier, setting: str) -> None:
        self._connection = connection
        self._role = role
        self._setting = setting

    def attempt(
        self,
        tenant: str,
        statement: sql.Composed,
        parameters: Mapping[str, Any],
        *,
        before: sql.Composed | None = None,
    ) -> Outcome:
        """Run a statement with `tenant` set ('' for none), and take back what it did.

        `before` runs first, as ourselves, with the same parameters.
        """
        connection = self._connection
        try:
            with connection.transaction(force_rollback=True):
                if before is not None:
                    connection.execute(before, parameters)
                self._be(tenant)
                return Outcome(rows=connection.execute(statement, parameters).rowcount)
        except psycopg.errors.InsufficientPrivilege:
            return Outcome(refused=True)
        except psycopg.Error as error:
            return Outcome(error=error.diag.message_primary or str(error))

    def value(self, tenant: str, statement: sql.Composed, *, prepare: bool = False) -> Any:
        """The one value of a statement run with `tenant` set.

        Raises:
            psycopg.Error: what the server says about it.
        """
        with self._connection.transaction(force_rollback=True):
            self._be(tenant)
            return _only(self._connection.execute(statement, prepare=prepare).fetchone())[0]

    def _be(self, tenant: str) -> None:
        self._connection.execute(STATEMENTS.scope.compose(), {"setting": self._setting, "tenant": tenant})
        self._connection.execute(STATEMENTS.become.compose(role=self._role))


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """A transaction that sees one state of the database, and is rolled back."""
    with connection.transaction(force_rollback=True):
        connection.execute(STATEMENTS.snapshot.compose())
        yield


@contextmanager
def nobody(
    connection: Connection, setting: str, roles: Sequence[str] = (), made: str | None = None
) -> Iterator[Nobody]:
    """Make a role that is nobody but one of `roles`, for as long as a transaction that is rolled back.

    Where the operator has `made` one, it is that; `unfit` says whether it will do.

    Raises:
        psycopg.errors.InsufficientPrivilege: this role may not make roles that read and write all data.
    """
    # Roles belong to the whole server: two verifications must not want the same name.
    role = sql.Identifier(made or f"tenantry_nobody_{secrets.token_hex(6)}")
    with connection.transaction(force_rollback=True):
        if made is None:
            connection.execute(STATEMENTS.role.compose(role=role))
        for member_of in () if made else roles:
            connection.execute(STATEMENTS.member.compose(role=role, of=sql.Identifier(member_of)))
        connection.execute(STATEMENTS.obey_policies.compose())
        yield Nobody(connection, role, setting)


def can_be_nobody(connection: Connection) -> str | None:
    """Why this session can't make the role that tries isolation; None if it can."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(
                STATEMENTS.role.compose(role=sql.Identifier(f"tenantry_nobody_{secrets.token_hex(6)}"))
            )
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction) as error:
        return error.diag.message_primary
    return None


def unfit(connection: Connection, role: str, tables: Sequence[int], roles: Sequence[str]) -> list[str]:
    """Why a role that the operator made can't try the tables (oids), whose policies hold `roles`."""
    given = {"role": role, "tables": list(tables), "roles": list(roles)}
    return [fact for (fact,) in connection.execute(STATEMENTS.unfit.compose(), given)]


def quiet_triggers(connection: Connection) -> None:
    """Let no trigger fire until the transaction ends, where this role may say so."""
    try:
        with connection.transaction():
            connection.execute(STATEMENTS.quiet_triggers.compose())
    except psycopg.errors.InsufficientPrivilege:
        # Then they fire for what is rolled back: what only leaves the database by them is theirs to know.
        return


def one_row(connection: Connection, table: sql.Composable, column: str, tenant: str) -> Row | None:
    """A row of that tenant, locked until the transaction ends; None if all are held by others."""
    with connection.cursor(row_factory=class_row(Row)) as cursor:
        statement = STATEMENTS.one_row.beside_parameters(table=table, column=sql.Identifier(column))
        return cursor.execute(statement, {"tenant": tenant}).fetchone()


def writable(table: Table) -> sql.Composed:
    """The columns that an INSERT may give."""
    return sql.SQL(", ").join(sql.Identifier(c.name) for c in table.columns if not c.generated)


@dataclass(frozen=True, slots=True)
class Strays:
    """Rows whose parent isn't in their own tenant, and one of the values that they look for."""

    rows: int
    example: str | None


def strays(
    connection: Connection,
    *,
    child: sql.Composable,
    parent: sql.Composable,
    pairs: Sequence[tuple[str, str]],
    column: str,
    missing: bool = True,
) -> Strays:
    """Count the rows of `child` that name a parent by `pairs` (ours, theirs) which isn't in their tenant.

    Without `missing` those don't count whose parent isn't there at all.
    """
    ours, theirs = sql.Identifier("child"), sql.Identifier("parent")
    matching = sql.SQL(" AND ").join(
        sql.SQL("{}.{} = {}.{}").format(theirs, sql.Identifier(target), ours, sql.Identifier(mine))
        for mine, target in pairs
    )
    there = sql.SQL("EXISTS (SELECT FROM {} AS parent WHERE {})").format(parent, matching)
    statement = STATEMENTS.edges.compose(
        child=child,
        parent=parent,
        column=sql.Identifier(column),
        example=sql.SQL("{}.{}::text").format(ours, sql.Identifier(pairs[0][0])),
        given=sql.SQL(" AND ").join(
            sql.SQL("{}.{} IS NOT NULL").format(ours, sql.Identifier(mine)) for mine, _ in pairs
        ),
        named=sql.SQL("true") if missing else there,
        pairs=matching,
    )
    with connection.cursor(row_factory=class_row(Strays)) as cursor:
        return _only(cursor.execute(statement).fetchone())


def pages(connection: Connection, table: Table) -> int:
    """The size of a table's heap in pages."""
    name = table.identifier.as_string(connection)
    statement = STATEMENTS.pages.beside_parameters(table=table.identifier)
    return int(_only(connection.execute(statement, {"table": name}).fetchone())[0])


def count_where(statement: Statement, table: sql.Composable, column: str, tenant: str | None) -> sql.Composed:
    """`count`, `explain` or `time`: of what is seen without a word, or of one tenant by its name."""
    condition: sql.Composable = sql.SQL("")
    if tenant is not None:
        condition = sql.SQL("WHERE {} = {}").format(sql.Identifier(column), sql.Literal(tenant))
    return statement.compose(table=table, condition=condition)


def read_only(connection: Connection, *, timeout_ms: float) -> None:
    """Let the transaction only read from here on, and no statement run longer than this."""
    connection.execute(STATEMENTS.read_only.compose())
    connection.execute(STATEMENTS.statement_timeout.compose(), {"milliseconds": round(timeout_ms)})


def timed(query: str) -> sql.Composed:
    """The operator's query, to be run and timed by the server; it may hold one statement only."""
    # One of the two places where a plan holds SQL; it runs read-only, as a role that is nobody.
    return STATEMENTS.time_query.compose(query=sql.SQL(query))


def _only(row: Given | None) -> Given:
    if row is None:
        raise CatalogError("an aggregate gave no row")
    return row
