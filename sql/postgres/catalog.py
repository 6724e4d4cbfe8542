"""The catalog as typed values: what a stage asks before and after each step.

The same values are kept in the ledger as the *original* of a migration (`Catalog.model_dump_json`), so
that the way back can rebuild what the way there replaced.
"""

from pathlib import Path
from typing import Literal

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from sql.named import load
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "catalog")


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class Column(_Fact):
    """A column; `type` as `format_type` writes it, `default` as SQL."""

    name: str
    type: str
    not_null: bool
    default: str | None
    identity: Literal["", "a", "d"]
    generated: bool
    collation: str | None


class Index(_Fact):
    """An index; `definition` is `pg_get_indexdef`, `constraint` the name of the constraint that owns it."""

    name: str
    definition: str
    columns: tuple[str, ...]
    unique: bool
    valid: bool
    ready: bool
    constraint: str | None
    comment: str | None


class Constraint(_Fact):
    """A primary key, unique or check constraint; `definition` is `pg_get_constraintdef`."""

    name: str
    kind: Literal["p", "u", "c"]
    columns: tuple[str, ...]
    definition: str
    index: str | None
    comment: str | None


class ForeignKey(_Fact):
    """A foreign key; both tables as (schema, name), columns in key order."""

    name: str
    schema_: str
    table: str
    columns: tuple[str, ...]
    target_schema: str
    target: str
    target_columns: tuple[str, ...]
    definition: str
    validated: bool
    deferrable: bool
    comment: str | None


class Policy(_Fact):
    """A row-level security policy; both expressions as SQL."""

    name: str
    permissive: bool
    roles: tuple[str, ...]
    command: str
    using: str | None
    check: str | None


class Trigger(_Fact):
    """A trigger of the user's or ours; `function` is schema-qualified."""

    name: str
    function: str
    definition: str
    enabled: bool


class Table(_Fact):
    """A table of the plan as the catalog has it; `kind` is `pg_class.relkind`, `rows` an estimate, -1 unknown."""

    oid: int
    schema_: str
    name: str
    kind: str
    owner: str
    rows: int
    bytes: int
    row_security: bool
    forced: bool
    replica_identity: str
    columns: tuple[Column, ...]
    constraints: tuple[Constraint, ...]
    indexes: tuple[Index, ...]
    foreign_keys: tuple[ForeignKey, ...]
    """Foreign keys of this table, to anywhere."""
    referenced_by: tuple[ForeignKey, ...]
    """Foreign keys from anywhere onto this table, its own among them."""
    policies: tuple[Policy, ...]
    triggers: tuple[Trigger, ...]

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted, schema-qualified name."""
        return sql.Identifier(self.schema_, self.name)

    @property
    def primary_key(self) -> Constraint | None:
        """Its primary key, if it has one."""
        return next((c for c in self.constraints if c.kind == "p"), None)

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((c for c in self.columns if c.name == name), None)

    def index(self, name: str) -> Index | None:
        """The index of that name."""
        return next((i for i in self.indexes if i.name == name), None)

    def constraint(self, name: str) -> Constraint | None:
        """The constraint of that name (foreign keys are apart)."""
        return next((c for c in self.constraints if c.name == name), None)

    def foreign_key(self, name: str) -> ForeignKey | None:
        """The foreign key of this table of that name."""
        return next((f for f in self.foreign_keys if f.name == name), None)

    def trigger(self, name: str) -> Trigger | None:
        """The trigger of that name."""
        return next((t for t in self.triggers if t.name == name), None)

    def policy(self, name: str) -> Policy | None:
        """The policy of that name."""
        return next((p for p in self.policies if p.name == name), None)


class Catalog(_Fact):
    """The plan's tables, by the name the plan gives them; a table that isn't there is not in it.

    `functions` are the functions of our own two schemas (`tenantry_guard`, `tenantry_rls`), schema-qualified.
    """

    server_version: int
    tables: dict[str, Table]
    functions: tuple[str, ...]
    schemas: tuple[str, ...]
