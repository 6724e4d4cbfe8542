"""When a SQLite file's write guard may go: nothing has needed it for the quiet time of the plan."""

from datetime import UTC, datetime

from control import retiring
from control.quiet import Quiet, since
from control.retiring import MEMORY
from control.sqlite import guard
from control.sqlite.stage import Ground
from control.sqlite.steps import take


def observe(ground: Ground) -> tuple[Quiet, dict[str, int], datetime]:
    """Since when the guard of no table was needed, how often each was, and the clock."""
    found = guard.uses(ground.connection, ground.plan, ground.original)
    uses, now = {table: use.uses for table, use in found.items()}, datetime.now(UTC)
    # A guard that is gone was not needed by going: its last count stays as it was.
    kept = ground.memory.recall(MEMORY) or {"counted": {}}
    return since(ground.memory, MEMORY, kept["counted"] | uses, now), uses, now


def retire(ground: Ground, stage: str) -> bool:
    """Take the guard away once nothing has needed it for the quiet time; False where something still does.

    Raises:
        CancelledError: the migration is cancelled.
    """
    if not retiring.unneeded(ground, lambda: observe(ground)):
        return False
    take(guard.retire(ground.plan, ground.original), ground, stage)
    return True
