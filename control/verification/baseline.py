"""What the server had counted when the migration began: what it counts later is compared with that."""

from dataclasses import asdict, dataclass
from typing import Any

from control.stage import Ground
from sql.postgres import aftermath
from sql.postgres.aftermath import Counters, Log
from sql.postgres.facts import Table

#: Where the ledger keeps it.
MEMORY = "baseline"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The counters then, the server's log then if it could be read, and rows ever deleted by table."""

    counters: Counters
    log: Log | None
    deleted: dict[str, int]


def parts(table: Table) -> list[int]:
    """What holds the table's rows: itself, or its partitions (oids)."""
    return [part.oid for part in table.partitions] or [table.oid]


def keep(ground: Ground) -> None:
    """Keep what is counted now, unless it was kept before: a run that is started again began earlier."""
    if ground.memory.recall(MEMORY) is not None:
        return
    counted = aftermath.counters(ground.connection)
    log = aftermath.log(ground.connection)
    deleted = {
        name: aftermath.deleted(ground.connection, parts(table))
        for name, table in ground.original.tables.items()
    }
    kept: dict[str, Any] = {
        "counters": asdict(counted),
        "log": None if log is None else asdict(log),
        "deleted": deleted,
    }
    ground.memory.remember(MEMORY, kept)


def recall(ground: Ground) -> Baseline | None:
    """What was kept; None for a migration that began without."""
    kept = ground.memory.recall(MEMORY)
    if kept is None:
        return None
    log = kept["log"]
    return Baseline(Counters(**kept["counters"]), None if log is None else Log(**log), kept["deleted"])
