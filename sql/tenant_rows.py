"""What a table says of a tenant."""

from dataclasses import dataclass
from datetime import datetime

#: Columns that tell when a row was last written, the likeliest first.
ACTIVITY = (
    *("updated_at", "modified_at", "changed_at", "last_modified", "last_updated", "updated", "modified"),
    *("created_at", "inserted_at", "created"),
)


@dataclass(frozen=True, slots=True)
class TenantRows:
    """How many rows of a table a tenant has, and when the last of them was written, where a column tells."""

    tenant: str | None
    rows: int
    last_activity: datetime | None
