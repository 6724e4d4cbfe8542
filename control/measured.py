"""What a stage cost in WAL and disk: how far both were when it began, and when it was done.

Both are the whole database's and the whole server's: what the application wrote meanwhile is in them.
"""

from collections.abc import Iterable
from typing import Any

from control.holds import Fact
from control.stage import Standing
from sql.database import Database
from sql.postgres import surroundings
from sql.sqlite.connection import File, sizes
from worker.ledger import Memory


class Cost(Fact):
    """By how many bytes WAL and disk grew during a stage; in a file the WAL is part of the disk, and None."""

    wal_bytes: int | None
    disk_bytes: int


def begun(ground: Standing, stage: str) -> None:
    """Keep how far both are, unless it was kept before: a stage that is taken up again began earlier."""
    if not _kept(ground.memory, stage):
        ground.memory.remember(_key(stage), {"begun": _measured(ground.connection)})


def done(ground: Standing, stage: str) -> None:
    """Keep how far both are now that a stage is done."""
    ground.memory.remember(_key(stage), _kept(ground.memory, stage) | {"done": _measured(ground.connection)})


def forget(ground: Standing, stage: str) -> None:
    """Forget what a stage cost that was undone."""
    ground.memory.remember(_key(stage), {})


def costs(memory: Memory, stages: Iterable[str]) -> dict[str, Cost]:
    """What the stages cost that were measured from beginning to end."""
    found = {stage: _kept(memory, stage) for stage in stages}
    return {stage: _cost(kept) for stage, kept in found.items() if {"begun", "done"} <= kept.keys()}


def _cost(kept: dict[str, Any]) -> Cost:
    before, after = kept["begun"], kept["done"]
    wal = None if before["wal"] is None or after["wal"] is None else after["wal"] - before["wal"]
    # Less than before: of another server, which took over or was restored from a backup.
    return Cost(wal_bytes=wal if wal is None or wal >= 0 else None, disk_bytes=after["disk"] - before["disk"])


def _measured(connection: Database) -> dict[str, int | None]:
    if isinstance(connection, File):
        return {"wal": None, "disk": sum(sizes(connection.path))}
    found = surroundings.position(connection)
    return {"wal": found.wal, "disk": found.disk}


def _kept(memory: Any, stage: str) -> dict[str, Any]:
    return memory.recall(_key(stage)) or {}


def _key(stage: str) -> str:
    return f"measured {stage}"
