"""Room for what the migration writes: in the file, in its WAL or journal, and for the backup."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from control.preflight.estimate import Estimate
from control.preflight.finding import Finding
from control.sqlite.stage import Ground
from sql.sqlite import preflight


def look(ground: Ground, costs: list[Estimate]) -> Iterator[Finding]:
    """Every fact about room, by what the stages are estimated to write."""
    path, kept = ground.connection.path, preflight.settings(ground.connection)
    stays = sum(cost.disk_bytes for cost in costs if cost.stage != "backup")
    # The WAL of one transaction holds all of it, and a reader keeps that of several.
    log = max((cost.wal_bytes for cost in costs), default=0)
    needed = {"the file": max(0, stays - kept.free), "its WAL or journal": log}
    backup = _backup(ground)
    if backup is not None and not backup.exists():
        if _device(backup.parent) == _device(path):
            needed["the backup"] = kept.bytes_
        else:
            yield _disk("disk of the backup", backup.parent, {"the backup": kept.bytes_})
    yield _disk("disk", path, needed)


def _backup(ground: Ground) -> Path | None:
    of = ground.plan.backup
    return None if of is None else Path(of.path).absolute()


def _device(path: Path) -> int | None:
    try:
        return path.stat().st_dev
    except OSError:
        return None


def _disk(name: str, place: Path, needed: dict[str, int]) -> Finding:
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding("warn", name, f"what is free can't be seen: {error.strerror}", "look there: df")
    whole = sum(needed.values())
    parts = ", ".join(f"{_size(amount)} for {what}" for what, amount in needed.items())
    fact = f"about {_size(whole)} needed ({parts}), {_size(free)} free"
    if free < whole:
        return Finding("stop", name, fact, "make room there first")
    if free < 2 * whole:
        return Finding("warn", name, fact, "make room: an estimate may be wrong by a factor of 2")
    return Finding("pass", name, fact)


def _size(amount: int) -> str:
    return f"{amount / 1e9:,.1f} GB" if amount >= 1e9 else f"{amount / 1e6:,.0f} MB"
