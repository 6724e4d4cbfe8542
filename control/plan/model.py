"""What a plan file may say, as types. Reading the file is `control.plan.reading`'s."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Self

from pydantic import (
    Field,
    PrivateAttr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from control.plan.governor import Governor
from control.plan.notify import Notify
from control.plan.sections import (
    Backfill,
    Backup,
    Database,
    IndexBuilds,
    Locks,
    Paging,
    Redis,
    Roles,
    Table,
    Tenant,
    Verify,
)
from control.plan.values import Part
from sql.errors import PlanError
from sql.postgres.connection import resolve
from sql.sqlite.connection import is_file
from sql.tenant_source import (
    Parent,
    TenantSource,
    chain,
    last_resort,
    split_name,
    with_last_resort,
)


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that `word` may be a misspelling of: the end of a message, or nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that a plan was read from, and the line of everything in it; no part of what the plan says."""

    file: str = field(default="the plan", compare=False)
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict, compare=False)


class Plan(Part):
    """A whole plan, checked as far as that goes without a database."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    database: Database
    tenant: Tenant = Tenant()
    tables: Annotated[tuple[Table, ...], Field(min_length=1)]
    roles: Roles | None = None
    redis: Redis | None = None
    backup: Backup | None = None
    backfill: Backfill = Backfill()
    governor: Governor = Governor()
    indexes: IndexBuilds = IndexBuilds()
    locks: Locks = Locks()
    verify: Verify = Verify()
    notify: Notify | None = None

    _origin: Origin = PrivateAttr(default_factory=Origin)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        _no_table_twice(self.tables)
        _no_index_twice(self.tables)
        _no_unique_twice(self.tables)
        _parents_are_tables(self.tables)
        _no_cycle(self.tables)
        _trees_come_first(self.tables)
        _keys_hold_the_tenant(self.tables, self.tenant.column)
        _no_tenant_is_the_sentinel(self.tables, self.tenant.sentinel_value)
        _schemas_need_no_more(self.tables, self.tenant)
        _stops_are_above_their_limits(self.governor)
        _roles_are_three(self.roles)
        return self

    def read_from(self, file: str, lines: Mapping[tuple[str | int, ...], int]) -> Self:
        """Remember where everything stands, for what only the database can find wrong."""
        self._origin = Origin(file, lines)
        return self

    def wrong(self, message: str, *path: str | int) -> PlanError:
        """Make the error that names the line of the deepest part of `path` that the file has."""
        lines = self._origin.lines
        known = (path[:end] for end in range(len(path), 0, -1) if path[:end] in lines)
        return PlanError(message, file=self._origin.file, line=next((lines[part] for part in known), None))

    @property
    def on_file(self) -> bool:
        """Whether the database is a SQLite file.

        Raises:
            GivenWrongError: its address is to come from a variable that is not set.
        """
        return is_file(resolve(self.database.url.get_secret_value()))

    @property
    def separates(self) -> bool:
        """Whether each tenant gets a schema of its own."""
        return self.tenant.isolation == "separate_schema"

    def table(self, name: str) -> Table:
        """Find the table that the plan calls `name`.

        Raises:
            KeyError: the plan has no such table.
        """
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def paging_of(self, table: Table) -> Paging:
        """Tell how a table is to be cut: as it says itself, or else as the backfill says."""
        return table.paging or self.backfill.paging

    def holds_triggers(self, table: Table) -> bool:
        """Tell whether a table's own triggers are held off while it is filled."""
        return (table.user_triggers or self.backfill.user_triggers) == "hold"

    def source_of(self, table: Table) -> TenantSource:
        """Tell where a table's tenants come from, with what becomes of rows that nothing else is known of."""
        if self.tenant.unresolved != "otherwise" or last_resort(table.tenant) is not None:
            return table.tenant
        return with_last_resort(table.tenant, self.tenant.legacy)

    def in_order(self) -> tuple[Table, ...]:
        """List the tables, parents before their children, else as the plan has them."""
        return tuple(self.table(name) for name in _parents_first(self.tables).static_order())


def _parents_first(tables: tuple[Table, ...]) -> TopologicalSorter[str]:
    return TopologicalSorter({table.name: table.parents for table in tables})


def _wrong(message: str, *path: str | int) -> PydanticCustomError:
    # As a value, the message may hold braces of the operator's; `path` leads the reader to the line.
    return PydanticCustomError("plan", "{message}", {"message": message, "path": path})


def _no_table_twice(tables: tuple[Table, ...]) -> None:
    seen: set[tuple[str, ...]] = set()
    for at, table in enumerate(tables):
        if (parts := split_name(table.name)) in seen:
            raise _wrong(f"table {table.name!r} stands in the plan twice", "tables", at, "name")
        seen.add(parts)


def _no_index_twice(tables: tuple[Table, ...]) -> None:
    seen: set[tuple[tuple[str, ...], str]] = set()
    for at, table in enumerate(tables):
        # An index lives in its table's schema, and its name is the schema's.
        schema = split_name(table.name)[:-1]
        for index_at, index in enumerate(table.indexes):
            if (schema, index.name) in seen:
                path = ("tables", at, "indexes", index_at, "name")
                raise _wrong(f"index {index.name!r} stands in the plan twice", *path)
            seen.add((schema, index.name))


def _no_unique_twice(tables: tuple[Table, ...]) -> None:
    for at, table in enumerate(tables):
        for place, name in enumerate(table.unique):
            if name in table.unique[:place]:
                message = f"{name!r} stands twice in what is unique of {table.name!r}"
                raise _wrong(message, "tables", at, "unique", place)


def _parents_are_tables(tables: tuple[Table, ...]) -> None:
    names = [table.name for table in tables]
    for at, table in enumerate(tables):
        for parent in table.parents:
            if parent not in names:
                message = f"parent {parent!r} of {table.name!r} is not a table of the plan"
                raise _wrong(message + nearest(parent, names), "tables", at, "tenant", "parent")


def _no_cycle(tables: tuple[Table, ...]) -> None:
    try:
        _parents_first(tables).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        at = next(at for at, table in enumerate(tables) if table.name == cycle[0])
        message = f"tables take their tenants from each other: {' <- '.join(cycle)}"
        raise _wrong(message, "tables", at, "tenant", "parent") from None


def _keys_hold_the_tenant(tables: tuple[Table, ...], column: str) -> None:
    for at, table in enumerate(tables):
        if table.primary_key is not None and column not in table.primary_key:
            message = f"the primary_key of {table.name!r} must hold the tenant column {column!r}"
            raise _wrong(message, "tables", at, "primary_key")


def _trees_come_first(tables: tuple[Table, ...]) -> None:
    for at, table in enumerate(tables):
        _, *after = chain(table.tenant)
        if any(isinstance(source, Parent) and source.parent == table.name for source in after):
            message = f"{table.name!r} is its own parent: say that first, then whose its topmost rows are"
            raise _wrong(message, "tables", at, "tenant", "otherwise")


def _no_tenant_is_the_sentinel(tables: tuple[Table, ...], sentinel: str | None) -> None:
    for at, table in enumerate(tables):
        for key in ("constant", "otherwise"):
            given = [getattr(source, key, None) for source in chain(table.tenant)]
            if any(isinstance(name, str) and name in {"", sentinel} for name in given):
                message = f"{key} of {table.name!r} is what a row without a tenant holds; name a tenant"
                raise _wrong(message, "tables", at, "tenant", key)


def _schemas_need_no_more(tables: tuple[Table, ...], tenant: Tenant) -> None:
    """With a schema for each tenant the shared tables are on their way out: nothing is built on them."""
    if tenant.isolation != "separate_schema":
        return
    if tenant.cross_tenant == "source":
        message = (
            'cross_tenant = "source" keeps edges between tenants, and no edge leads from schema to schema'
        )
        raise _wrong(message + '; take "stop" or "quarantine"', "tenant", "cross_tenant")
    for at, table in enumerate(tables):
        for key in ("indexes", "primary_key", "unique", "rls"):
            if getattr(table, key):
                message = (
                    f'{key} of {table.name!r} is for isolation = "shared_schema": with a schema for each '
                    "tenant its tables are like the original; leave it out"
                )
                raise _wrong(message, "tables", at, key)


def _stops_are_above_their_limits(governor: Governor) -> None:
    for signal, limit in governor.limits().items():
        if limit.max is not None and limit.stop is not None and limit.stop < limit.max:
            message = f"stop_{signal} is below max_{signal}: the pace would never be halved before it stops"
            raise _wrong(message, "governor", f"stop_{signal}")
    if "query" in governor.limits() and governor.query is None:
        raise _wrong("a limit for the plan's own query, and no query", "governor", "max_query")


def _roles_are_three(roles: Roles | None) -> None:
    if roles is not None and len({roles.controller, roles.worker, roles.exporter}) < 3:
        raise _wrong("controller, worker and exporter are three roles: give each a name of its own", "roles")
