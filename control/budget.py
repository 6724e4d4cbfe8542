"""What preflight foretold of WAL and disk, and how far both were then: alerts go by what is used up of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from control.preflight.estimate import Estimate
from control.stage import Memory
from sql.ledger import meant

#: Where the ledger keeps it.
MEMORY = "budget"


class Budget(BaseModel):
    """Bytes foretold, and how far WAL and database were when the migration began; no WAL of a SQLite file."""

    model_config = ConfigDict(frozen=True)

    disk: int
    disk_before: int
    wal: int | None = None
    wal_before: int | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """Bytes of a budget and what has been used of it; others in the same database use it up as well."""

    disk: int
    disk_budget: int
    wal: int | None
    wal_budget: int | None


def keep(memory: Memory, costs: Iterable[Estimate], *, disk: int, wal: int | None) -> None:
    """Keep what is foretold, and how far disk and WAL are, unless kept: a run started again began earlier.

    A backup goes elsewhere than into the database.
    """
    if memory.recall(MEMORY) is not None:
        return
    foretold = [cost for cost in costs if cost.stage != "backup"]
    kept = Budget(
        disk=sum(cost.disk_bytes for cost in foretold),
        disk_before=disk,
        wal=None if wal is None else sum(cost.wal_bytes for cost in foretold),
        wal_before=wal,
    )
    memory.remember(MEMORY, kept.model_dump(mode="json"))


def spent(memory: Memory, *, disk: int, wal: int | None) -> Spent | None:
    """What has been used, now that disk and WAL are so far; None for a migration that keeps no budget."""
    kept = memory.recall(MEMORY)
    if kept is None:
        return None
    budget = meant(Budget, kept, f"migrations.memory ({MEMORY})", None)
    return Spent(
        disk=max(0, disk - budget.disk_before),
        disk_budget=budget.disk,
        wal=None if wal is None or budget.wal_before is None else max(0, wal - budget.wal_before),
        wal_budget=budget.wal,
    )
