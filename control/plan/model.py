"""What a plan file may say, as types. Reading the file is `control.plan.reading`'s."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from sql.tenant_source import Constant, TenantSource, split_name

Mode = Literal["observe", "permissive", "strict"]

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: str) -> float:
    """Read `100ms`, `10m`, `1.5h` as seconds.

    Raises:
        ValueError: not a number and one of ms, s, m, h, d.
    """
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is not a duration; write 100ms, 10s, 10m, 1h or 1d")
    return float(match["number"]) * _SECONDS[match["unit"]]


def _is_duration(value: str) -> str:
    seconds(value)
    return value


def _is_table(value: str) -> str:
    split_name(value)
    return value


def _is_pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return value


#: PostgreSQL cuts names at 63 bytes without a word: a longer one would be another name than the plan's.
Name = Annotated[str, StringConstraints(min_length=1, max_length=63)]
TableName = Annotated[str, AfterValidator(_is_table)]
Duration = Annotated[str, AfterValidator(_is_duration)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(_Part):
    """Where the tables are."""

    url: SecretStr
    standbys: tuple[SecretStr, ...] = ()


class Tenant(_Part):
    """How a tenant is told, everywhere."""

    column: Name = "tenant_id"
    sentinel: str = ""
    setting: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")] = "app.current_tenant_id"
    isolation: Literal["shared_schema", "separate_schema"] = "shared_schema"
    legacy: str = "default"
    pattern: Annotated[str, AfterValidator(_is_pattern)] = "^[A-Za-z0-9_-]{1,255}$"
    unresolved: Literal["quarantine", "otherwise", "stop"] = "quarantine"
    cross_tenant: Literal["stop", "source", "quarantine"] = "stop"
    default: str = "none"

    @property
    def sentinel_value(self) -> str | None:
        """What a row holds that has no tenant yet; None is NULL."""
        return None if self.sentinel == "null" else self.sentinel


class Index(_Part):
    """An index that the plan adds."""

    name: Name
    columns: Annotated[tuple[Name, ...], Field(min_length=1)]


class RowSecurity(_Part):
    """The policy of a table, and how far the rls stage goes with it."""

    policy: Name
    mode: Mode = "strict"
    quiet: Duration = "10m"


class Table(_Part):
    """One table of the plan."""

    name: TableName
    tenant: TenantSource
    indexes: tuple[Index, ...] = ()
    primary_key: tuple[Name, ...] | None = None
    rls: RowSecurity | None = None

    @property
    def constant(self) -> str | None:
        """The tenant of every row, where there is only one."""
        return self.tenant.constant if isinstance(self.tenant, Constant) else None


class Redis(_Part):
    """The doorbell; without it `run` starts its own."""

    url: SecretStr


class Backup(_Part):
    """Where `pg_dump` writes before anything is changed."""

    path: str


class Backfill(_Part):
    """How batches are cut and committed."""

    paging: Literal["auto", "contiguous", "striped"] = "auto"
    target: Duration = "100ms"
    first_batch: Annotated[int, Field(ge=100, le=100_000)] = 2_500
    synchronous_commit: Literal["on", "off"] = "on"


class Limits(_Part):
    """The governor's: at a `max` it sheds work, at a `stop` it holds."""

    max_lag: Duration = "1500ms"
    stop_lag: Duration = "5s"
    max_lag_bytes: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024
    stop_lag_bytes: Annotated[int, Field(gt=0)] = 512 * 1024 * 1024
    max_waiting: Annotated[int, Field(gt=0)] = 2
    stop_waiting: Annotated[int, Field(gt=0)] = 10
    max_snapshot: Duration = "5m"
    stop_snapshot: Duration = "1h"
    rows_per_second: Annotated[int, Field(gt=0)] | None = None


class Query(_Part):
    """A query of the plan's own that `verify` times."""

    sql: str
    max_ms: Annotated[float, Field(gt=0)]


class Verify(_Part):
    """What `verify` looks at beside its own checks."""

    queries: tuple[Query, ...] = ()


class Plan(_Part):
    """A whole plan, checked as far as that goes without a database."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    database: Database
    tenant: Tenant = Tenant()
    tables: Annotated[tuple[Table, ...], Field(min_length=1)]
    redis: Redis | None = None
    backup: Backup | None = None
    backfill: Backfill = Backfill()
    governor: Limits = Limits()
    verify: Verify = Verify()
