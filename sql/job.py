"""What a job is, as the statements need it; kept in the ledger, so that a worker never reads a plan."""

from pydantic import BaseModel, ConfigDict

from sql.tenant_source import TenantSource

#: A key as the ledger keeps it: one text per column, as the server writes and reads the type.
Key = list[str]


class KeyColumn(BaseModel):
    """A column of the key that pages are cut by; `type` as `format_type` writes it."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str


class JobSpec(BaseModel):
    """One table's work: where, by which key, what is still to be filled, and from what."""

    model_config = ConfigDict(frozen=True)

    schema_: str
    table: str
    key: tuple[KeyColumn, ...]
    stripes: int
    """1 cuts contiguous ranges; more visit each range once per stripe (design, section 4)."""
    tenant_column: str
    sentinel: str | None
    source: TenantSource
    tenant_in_unique_index: bool
    """Then a change of tenant changes a key, and skipping locked rows needs FOR UPDATE."""


class Range(BaseModel):
    """Keys above `lower` (None: from the first) up to and with `upper`, of one stripe."""

    model_config = ConfigDict(frozen=True)

    lower: Key | None
    upper: Key
    stripe: int
