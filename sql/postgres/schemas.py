"""Tenants' schemas: what of a shared table its copies are made by, and which schemas there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from psycopg import sql
from psycopg.pq import TransactionStatus
from pydantic import BaseModel, ConfigDict

from sql.named import load
from sql.postgres.catalog import OURS
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "schemas")
MIRROR = load(Path(__file__).parent, "schemas_mirror")
COPY = load(Path(__file__).parent, "schemas_copy")


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class Column(_Fact):
    """A column; `identity` as `pg_attribute` has it, `sequence` what an identity draws on.

    `target` and `options` are what ANALYZE is told of it: None and empty as a rule.
    """

    name: str
    generated: bool
    identity: str
    sequence: str | None
    target: int | None = None
    options: tuple[str, ...] = ()


class Index(_Fact):
    """An index, with the constraint it serves: `p`, `u` or `x`; `targets` of ANALYZE by columns' numbers."""

    name: str
    quoted: str
    unique: bool
    definition: str
    columns: tuple[str, ...]
    constraint: str | None
    constraint_definition: str | None
    targets: dict[int, int] = {}
    clustered: bool
    replica_identity: bool
    comment: str | None
    constraint_comment: str | None


class Reference(_Fact):
    """A foreign key; `columns` as they stand in its definition, `target` an oid."""

    name: str
    definition: str
    deferrable: bool
    deferred: bool
    restricts: bool
    target: int
    target_quoted: str
    columns: str
    comment: str | None


class Statistics(_Fact):
    """Extended statistics; `target` is None for the columns' own."""

    name: str
    quoted: str
    definition: str
    target: int | None = None
    comment: str | None = None


class Grant(_Fact):
    """A privilege on the table or one of its columns; `role` is None for PUBLIC."""

    privilege: str
    column: str | None
    grantable: bool
    role: str | None


class Trigger(_Fact):
    """A trigger of the application's; `enabled` as `pg_trigger` has it."""

    name: str
    definition: str
    enabled: str
    conditional: bool
    comment: str | None


class Pattern(_Fact):
    """A shared table, as its copies are made. `quoted` is its name as it stands in definitions."""

    oid: int
    schema_: str
    name: str
    quoted: str
    owner: str
    unlogged: bool
    replica_identity: str
    options: tuple[str, ...]
    comment: str | None
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    key: tuple[str, ...] = ()
    references_: tuple[Reference, ...]
    statistics: tuple[Statistics, ...]
    grants: tuple[Grant, ...]
    owner_lacks: tuple[str, ...] = ()
    """The privileges that its owner has given up."""
    triggers: tuple[Trigger, ...]
    had_tenant: bool = False
    """Whether it had the tenant column before the migration: then its copies have it too."""

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted, schema-qualified name."""
        return sql.Identifier(self.schema_, self.name)


@dataclass(frozen=True, slots=True)
class Schema:
    """A tenant's schema.

    It is `made` with its tables and triggers, then has foreign keys (`referring`), which are `valid`, and is
    `settled` once its tables are as they are to stay.
    """

    tenant: str
    name: str
    state: Literal["made", "referring", "valid", "settling", "settled", "returning"]


def patterns(connection: Connection, oids: Sequence[int]) -> dict[int, Pattern]:
    """Read how tables are to be copied, by their oids."""
    asked = {"oids": list(oids), "ours": list(OURS)}
    within = connection.info.transaction_status != TransactionStatus.IDLE
    with connection.transaction(force_rollback=within):
        connection.execute(STATEMENTS.bare_search_path.compose())
        rows = connection.execute(STATEMENTS.pattern.compose(), asked).fetchall()
    return {oid: Pattern.model_validate({"oid": oid, **fact, "key": fact["key"] or ()}) for oid, fact in rows}


def tenants(connection: Connection, table: sql.Identifier, column: str) -> set[str | None]:
    """The tenants that have rows in a table."""
    statement = STATEMENTS.tenants.compose(table=table, tenant=sql.Identifier(column))
    return {row[0] for row in connection.execute(statement)}


def taken(connection: Connection, names: Sequence[str]) -> set[str]:
    """Those of the names that are schemas already."""
    rows = connection.execute(STATEMENTS.schemas_called.compose(), {"names": list(names)})
    return {row[0] for row in rows}


def relations(connection: Connection, names: Sequence[tuple[str, str]]) -> list[str]:
    """Those of the names (schema and name) that something has already."""
    asked = {"names": [sql.Identifier(*name).as_string() for name in names]}
    oids = [row[0] for row in connection.execute(STATEMENTS.oids.compose(), asked)]
    return [".".join(name) for name, oid in zip(names, oids, strict=True) if oid is not None]


def rules(connection: Connection, oids: Sequence[int]) -> list[str]:
    """The rules of tables, each with its table."""
    return [row[0] for row in connection.execute(STATEMENTS.rules.compose(), {"oids": list(oids)})]


def deferrable_exclusions(connection: Connection, oids: Sequence[int]) -> list[str]:
    """The exclusion constraints of tables that may be deferred, each with its table."""
    asked = {"oids": list(oids)}
    return [row[0] for row in connection.execute(STATEMENTS.deferrable_exclusions.compose(), asked)]


def mirrored(connection: Connection) -> bool:
    """Whether there is a mirror at all."""
    row = connection.execute(MIRROR.is_there.compose()).fetchone()
    return row is not None and bool(row[0])


def switched(connection: Connection) -> bool:
    """Whether the shared tables are renamed away."""
    if not mirrored(connection):
        return False
    row = connection.execute(MIRROR.is_switched.compose()).fetchone()
    return row is not None and bool(row[0])


def schemas(connection: Connection) -> list[Schema]:
    """The tenants' schemas that are there; empty where there is no mirror."""
    if not mirrored(connection):
        return []
    return [Schema(*row) for row in connection.execute(MIRROR.schemas.compose())]


def unfilled(connection: Connection, named: str) -> list[str]:
    """The tenants whose rows of a table are not copied yet."""
    return [row[0] for row in connection.execute(MIRROR.unfilled.compose(), {"named": named})]


def note_filled(connection: Connection, named: str, tenants: Sequence[str]) -> None:
    """Note that tenants' rows of a table are copied."""
    connection.execute(MIRROR.note_filled.compose(), {"named": named, "tenants": list(tenants)})


def take_strays(connection: Connection) -> None:
    """Forget the notes of rows without a schema; their tenants' rows are to be copied again."""
    connection.execute(MIRROR.take_strays.compose())


def strays(connection: Connection) -> list[tuple[str, int]]:
    """Tenants that rows were written for while they had no schema, the first few."""
    return [(tenant, rows) for tenant, rows in connection.execute(MIRROR.strays.compose())]


def apart(connection: Connection) -> tuple[int, str, str, str] | None:
    """How many rows have an id that another tenant has too; table, tenant and key of one of them."""
    row = connection.execute(MIRROR.apart.compose()).fetchone()
    return None if row is None else (row[0], row[1], row[2], row[3])
