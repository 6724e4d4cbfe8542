"""Room for what the migration writes: on the server's disk, in the WAL that slots keep, in the archive."""

import shutil
from collections.abc import Iterator

from control.preflight.estimate import MUCH, Estimate
from control.preflight.finding import Finding
from control.stage import Ground
from sql.postgres import surroundings


def look(ground: Ground, costs: list[Estimate]) -> Iterator[Finding]:
    """Every fact about room, by what the stages are estimated to write."""
    settings = surroundings.wal_settings(ground.connection)
    wal, grown = sum(cost.wal_bytes for cost in costs), sum(cost.disk_bytes for cost in costs)
    # Without a reader that lags, a checkpoint lets old WAL go.
    kept = min(wal, settings.max_wal)
    if settings.slots or settings.unarchived:
        kept = wal if settings.slots_keep is None or settings.unarchived else min(wal, settings.slots_keep)
    yield _disk(ground, grown + kept)
    if settings.unarchived is not None:
        fact = f"archiving fails: {settings.unarchived} is not archived, and all WAL since stays on disk"
        yield Finding("warn", "archive", fact, "mend archive_command first: see the server's log")
    if settings.slots_keep is not None and settings.slots and wal > settings.slots_keep:
        fact = f"slots may keep {_size(settings.slots_keep)}, and about {_size(wal)} will be written"
        way_out = "raise max_slot_wal_keep_size for the while: who falls behind by more loses his slot"
        yield Finding("warn", "WAL for slots", fact, way_out)


def _disk(ground: Ground, needed: int) -> Finding:
    free = _free(ground)
    fact = f"about {_size(needed)} needed"
    if free is None:
        if needed < MUCH:
            return Finding("pass", "disk", f"{fact}; what is free can't be seen from here")
        return Finding("warn", "disk", f"{fact}, and what is free can't be seen from here", "look there: df")
    fact = f"{fact}, {_size(free)} free"
    if free < needed:
        return Finding("stop", "disk", fact, "make room, or give the indexes a tablespace with room")
    if free < 2 * needed:
        return Finding("warn", "disk", fact, "make room: an estimate may be wrong by a factor of 2")
    return Finding("pass", "disk", fact)


def _free(ground: Ground) -> int | None:
    """Free bytes where the server keeps its data; None where that is another machine, or hidden from us."""
    host = ground.connection.info.host
    # A loopback address may lead through a tunnel or into a container; a socket is this machine's.
    folder = surroundings.data_directory(ground.connection) if host.startswith(("/", "@")) else None
    if folder is None:
        return None
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _size(amount: int) -> str:
    return f"{amount / 1e9:,.1f} GB" if amount >= 1e9 else f"{amount / 1e6:,.0f} MB"
