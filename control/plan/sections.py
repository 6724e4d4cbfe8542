"""The sections of a plan file, as types."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from control.plan.values import (
    Duration,
    FilePath,
    Name,
    Part,
    Pattern,
    Setting,
    TableName,
    Target,
    Windows,
    seconds,
)
from sql.tenant_source import Constant, Parent, Source, chain

#: Whether all tenants' rows stay in one table, or each tenant gets a schema with tables of its own.
Isolation = Literal["shared_schema", "separate_schema"]
Mode = Literal["observe", "permissive", "strict"]
#: How a table is cut into batches; `keys` is contiguous or striped as the key lies in the heap, and `auto`
#: decides between keys and pages too.
Paging = Literal["auto", "keys", "contiguous", "striped", "pages"]
#: Whether the table's own triggers fire for a batch's updates, or are held off for the backfill's session.
UserTriggers = Literal["run", "hold"]


class Database(Part):
    """Where the tables are."""

    url: SecretStr
    standbys: tuple[SecretStr, ...] = ()


class Tenant(Part):
    """How a tenant is told, everywhere."""

    column: Name = "tenant_id"
    sentinel: str = ""
    setting: Setting = "app.current_tenant_id"
    isolation: Isolation = "shared_schema"
    legacy: str = "default"
    pattern: Pattern = "^[A-Za-z0-9_-]{1,255}$"
    unresolved: Literal["quarantine", "otherwise", "stop"] = "quarantine"
    cross_tenant: Literal["stop", "source", "quarantine"] = "stop"
    default: str = "none"
    moves: Literal["follow", "refuse"] = "follow"
    """What becomes of rows whose parent changes its tenant while the write guard is there."""

    @property
    def sentinel_value(self) -> str | None:
        """What a row holds that has no tenant yet; None is NULL."""
        return None if self.sentinel == "null" else self.sentinel


class Index(Part):
    """An index that the plan adds."""

    name: Name
    columns: Annotated[tuple[Name, ...], Field(min_length=1)]


class RowSecurity(Part):
    """The policy of a table, and how far the rls stage goes with it."""

    policy: Name
    mode: Mode = "strict"
    quiet: Duration = "10m"
    roles: tuple[Name, ...] = ()
    """Whom the policy holds; everybody where none is named."""


class Table(Part):
    """One table of the plan."""

    name: TableName
    tenant: Source
    indexes: tuple[Index, ...] = ()
    primary_key: tuple[Name, ...] | None = None
    unique: tuple[Name, ...] = ()
    """Unique constraints and indexes, by the names they have, that are to hold within each tenant alone."""
    rls: RowSecurity | None = None
    paging: Paging | None = None
    """In place of the backfill's."""
    user_triggers: UserTriggers | None = None
    """In place of the backfill's."""

    @property
    def constant(self) -> str | None:
        """The tenant of every row, where there is only one."""
        return self.tenant.constant if isinstance(self.tenant, Constant) else None

    @property
    def parents(self) -> tuple[str, ...]:
        """The tables of the plan that this one takes its tenant from, the table itself not among them."""
        named = [source.parent for source in chain(self.tenant) if isinstance(source, Parent)]
        return tuple(dict.fromkeys(name for name in named if name != self.name))


class Redis(Part):
    """The doorbell; without it `run` starts its own."""

    url: SecretStr


class Roles(Part):
    """Who logs in as what, where processes have roles of their own; `tenantry roles --sql` makes them."""

    controller: Name = "tenantry_controller"
    worker: Name = "tenantry_worker"
    exporter: Name = "tenantry_exporter"


class Backup(Part):
    """Where `pg_dump` writes before anything is changed; a folder where it does so by several jobs."""

    path: FilePath
    jobs: Annotated[int, Field(ge=1, le=64)] = 1


class Backfill(Part):
    """How batches are cut and committed."""

    paging: Paging = "auto"
    user_triggers: UserTriggers = "run"
    target: Target = "50ms"
    first_batch: Annotated[int, Field(ge=100, le=100_000)] = 4_000
    synchronous_commit: Literal["on", "off"] = "on"
    active: Windows = ()
    """Hours in which batches may go, such as `Mon-Fri 22:00-06:00 Europe/Berlin`; none for all."""

    @property
    def target_seconds(self) -> float:
        """How long a batch may hold its row locks."""
        return seconds(self.target)


class IndexBuilds(Part):
    """How indexes are built."""

    tables_at_once: Annotated[int, Field(ge=1, le=16)] = 2
    """Each by a session of its own, and one index at a time of each table."""


class Locks(Part):
    """What may be done to get a strong lock."""

    terminate_after: Duration | None = None
    """End a session in the way whose transaction is older; none is ended without it."""

    @property
    def terminate_after_seconds(self) -> float | None:
        """The same in seconds."""
        return None if self.terminate_after is None else seconds(self.terminate_after)


class Query(Part):
    """A query of the plan's own that `verify` times."""

    sql: str
    max_ms: Annotated[float, Field(gt=0)]


class Verify(Part):
    """What `verify` looks at beside its own checks, and what it may find."""

    queries: tuple[Query, ...] = ()
    role: Name | None = None
    """Who tries isolation, where the migration's own role may not make one."""
    quiet: Duration | None = None
    """How long nothing must have needed the write guard before it goes; else the longest of `rls`."""
    max_deadlocks: Annotated[int, Field(ge=0)] = 0
    """In the whole database, since the migration began."""
    max_log_errors: Annotated[int, Field(ge=0)] | None = None
    """Of the whole server, since the migration began; only told without it."""
