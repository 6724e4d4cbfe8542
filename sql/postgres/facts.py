"""What the catalog says of tables, as typed values; `sql.postgres.catalog` reads them.

The same values are kept in the ledger as the *original* of a migration (`Catalog.model_dump_json`), so
that the way back can rebuild what the way there replaced.
"""

import re
from collections.abc import Mapping
from typing import Literal

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from sql.errors import CatalogError

_TEXT_LITERAL = re.compile(r"'(?P<text>(?:[^']|'')*)'(::[a-z ]+)?")


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

    @property
    def default_text(self) -> str | None:
        """The default where it is a plain text literal: `'x'::text` is `x`."""
        match = _TEXT_LITERAL.fullmatch(self.default or "")
        return match["text"].replace("''", "'") if match else None


class IndexKey(_Fact):
    """What an index is ordered by: `sql` is a quoted column, or an expression in the parentheses it needs.

    `collation`, None for a type without one, and `operators` (the operator class) are quoted and
    schema-qualified, and said even where they are the column's own.
    """

    sql: str
    collation: str | None
    operators: str
    descending: bool
    nulls_first: bool


class Index(_Fact):
    """An index; `definition` is `pg_get_indexdef`, `constraint` the name of the constraint that owns it.

    `columns` are its keys (an expression as SQL). A `plain` one is a btree in the default order, with neither
    expression nor predicate: its columns and `include` say all about it. `options` are its storage
    parameters, `tablespace` is None for the database's own.

    `collations` has a value for each of `columns`: the index's collation, quoted and schema-qualified, where
    it is not the column's own, else None. A comparison needs it said, or it doesn't find the index.
    """

    name: str
    definition: str
    columns: tuple[str, ...]
    include: tuple[str, ...] = ()
    collations: tuple[str | None, ...] = ()
    btree_columns: bool = True
    """A btree over every row, of columns by their types' own order, in whatever direction and collation: with
    `collations` a row comparison runs along it, from a session with the reading one's search path."""
    plain: bool = True
    unique: bool
    keys: tuple[IndexKey, ...] = ()
    """Of a unique btree that is no primary key's: all that its columns are ordered by."""
    nulls_not_distinct: bool = False
    predicate: str | None = None
    statistics: Mapping[int, int] = {}
    """Of a unique one: the statistics targets that its columns were given, by their number from 1."""
    valid: bool
    ready: bool
    clustered: bool = False
    replica_identity: bool = False
    options: tuple[str, ...] = ()
    tablespace: str | None = None
    constraint: str | None
    attached_to: str | None = None
    """Of a partition's index: the index of the table above that it is a part of."""
    comment: str | None


class Constraint(_Fact):
    """A primary key, unique or check constraint; `definition` is `pg_get_constraintdef`."""

    name: str
    kind: Literal["p", "u", "c"]
    columns: tuple[str, ...]
    definition: str
    index: str | None
    validated: bool = True
    deferrable: bool = False
    deferred: bool = False
    comment: str | None


#: How pg_constraint writes what a foreign key does when its target goes or changes.
Action = Literal["a", "r", "c", "n", "d"]


class ForeignKey(_Fact):
    """A foreign key; both tables as (schema, name), columns in key order.

    `on_delete`, `on_update` and `match` are the letters of `pg_constraint`; `set_columns` those of
    `ON DELETE SET NULL (…)`, empty where it means all; `target_index` is the unique index it leans on.
    """

    name: str
    schema_: str
    table: str
    columns: tuple[str, ...]
    target_schema: str
    target: str
    target_columns: tuple[str, ...]
    target_index: str | None = None
    definition: str
    on_delete: Action = "a"
    on_update: Action = "a"
    match: Literal["f", "p", "s"] = "s"
    set_columns: tuple[str, ...] = ()
    validated: bool
    enforced: bool = True
    deferrable: bool
    deferred: bool = False
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
    """A trigger of the user's or ours; `function` is schema-qualified.

    An `enabled` one fires in ordinary sessions (`origin`), in sessions with `session_replication_role =
    replica`, or always. `of_columns` are those of `UPDATE OF`, empty where it means all. A `cloned` one of a
    partition is its parent's.
    """

    name: str
    function: str
    definition: str
    enabled: bool
    fires: Literal["origin", "replica", "always"] = "origin"
    each_row: bool = True
    on_update: bool = False
    of_columns: tuple[str, ...] = ()
    cloned: bool = False


class ViewColumn(_Fact):
    """A column of a view; `collation` is quoted and schema-qualified, None for a type without one."""

    name: str
    type: str
    collation: str | None


class View(_Fact):
    """A view whose GROUP BY leans on a primary key; `definition` is `pg_get_viewdef`, without semicolon."""

    oid: int
    schema_: str
    name: str
    definition: str
    options: tuple[str, ...] = ()
    columns: tuple[ViewColumn, ...]

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted, schema-qualified name."""
        return sql.Identifier(self.schema_, self.name)


class Table(_Fact):
    """A table of the plan as the catalog has it; `kind` is `pg_class.relkind`.

    `rows` is the planner's estimate, -1 where unknown; `bytes` counts indexes and TOAST. Those of a
    partitioned table (kind `p`) are its partitions' together.
    """

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
    views: tuple[View, ...] = ()
    """Views that GROUP BY its primary key and select more, so that they lean on it; no materialized ones."""
    partitions: tuple["Table", ...] = ()
    """The leaf partitions, at whatever level, of a partitioned table: what holds its rows."""
    branches: tuple["Table", ...] = ()
    """The partitions of a partitioned table that have partitions of their own, the upper ones first."""
    under: tuple[str, str] | None = None
    """The table right above a partition, as (schema, name)."""
    partition_of: str | None = None
    """The partitioned table at the top that this is a partition of, quoted and schema-qualified."""
    inherits: bool = False
    """Whether it has parents or children by INHERITS; partitions don't count."""

    @property
    def is_partition(self) -> bool:
        """Whether it is a partition of another table."""
        return self.partition_of is not None

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

    `server_version` is like 180006. `schemas` are those of our own schemas that are there; `functions` and
    `sequences` are what they hold, schema-qualified and quoted where they must be; `triggers` are those that
    call such a function, each as its table, a blank and its name. `search_path` are the schemas in which the
    reading session looked for unqualified names, in order.
    """

    server_version: int
    tables: Mapping[str, Table]
    functions: tuple[str, ...]
    sequences: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    schemas: tuple[str, ...]
    search_path: tuple[str, ...] = ()

    def table(self, name: str) -> Table:
        """The table that the plan calls `name`.

        Raises:
            CatalogError: it isn't there (any more).
        """
        try:
            return self.tables[name]
        except KeyError:
            raise CatalogError(
                f"table {name} is not there; was it renamed? If it was dropped, leave it out of the plan"
            ) from None
