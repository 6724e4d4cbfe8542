"""What a rehearsal took, stage by stage, and what it was a rehearsal of: kept as a file beside the backup."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from control.plan.model import Plan
from control.stage import Memory
from sql.ledger import meant

#: Where the ledger keeps the rehearsal of a migration that has begun.
MEMORY = "rehearsal"


class StageTiming(BaseModel):
    """A stage: how long it took, and by how many bytes WAL and database grew meanwhile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    seconds: float
    wal_bytes: int
    disk_bytes: int


class Rehearsal(BaseModel):
    """A plan that was run on a copy; `rows` by the tables' names in the plan, `backup` is its checksum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rehearsed_at: datetime
    server: str
    server_version: int
    backup: str
    workers: int
    rows: dict[str, int]
    restore_seconds: float
    stages: tuple[StageTiming, ...]


def beside(backup: Path) -> Path:
    """Name the file that holds the timings of a backup's rehearsal."""
    return backup.with_name(backup.name + ".rehearsal.json")


def write(rehearsal: Rehearsal, backup: Path) -> Path:
    """Keep a rehearsal beside the backup that it began from, in place of an earlier one; where."""
    path = beside(backup)
    path.write_text(rehearsal.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def latest(plan: Plan, memory: Memory) -> Rehearsal | None:
    """Find a rehearsal of these tables, beside the plan's backup or in the ledger; else None."""
    for found in (_beside(plan), _kept(memory)):
        if found is not None and set(found.rows) == {table.name for table in plan.tables}:
            return found
    return None


def _beside(plan: Plan) -> Rehearsal | None:
    if plan.backup is None:
        return None
    try:
        return Rehearsal.model_validate_json(beside(Path(plan.backup.path)).read_bytes())
    except (OSError, ValidationError):
        return None  # one that can't be read tells nothing, and the next rehearsal writes it anew


def _kept(memory: Memory) -> Rehearsal | None:
    kept = memory.recall(MEMORY)
    return None if kept is None else meant(Rehearsal, kept, f"migrations.memory ({MEMORY})", None)
