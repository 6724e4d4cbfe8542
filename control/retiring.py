"""When the write guard may go: nothing has needed it for the quiet time of the plan."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from control import guard
from control.plan.model import Plan
from control.plan.sections import RowSecurity
from control.plan.values import seconds
from control.quiet import Quiet, since
from control.stage import Ground, Standing, Step
from sql.postgres.facts import Catalog
from sql.postgres.verify import clock

#: Where the ledger keeps since when the guard wasn't needed.
MEMORY = "guard.uses"
#: Seconds between two looks.
POLL = 0.5


def quiet_seconds(plan: Plan) -> float:
    """The quiet time that the plan asks for the guard, or the longest of its policies."""
    if plan.verify.quiet is not None:
        return seconds(plan.verify.quiet)
    asked = [table.rls.quiet for table in plan.tables if table.rls is not None]
    return max(map(seconds, asked or [RowSecurity(policy="-").quiet]))


def observe(ground: Ground) -> tuple[Quiet, dict[str, int], datetime]:
    """Since when the guard of no table was needed, how often each was, and the server's clock."""
    uses = guard.uses(ground.connection, ground.plan, ground.original)
    now = clock(ground.connection)
    # A guard that is gone was not needed by going: its last count stays as it was.
    kept = ground.memory.recall(MEMORY) or {"counted": {}}
    return since(ground.memory, MEMORY, kept["counted"] | uses, now), uses, now


def unneeded(ground: Standing, look: Callable[[], tuple[Quiet, dict[str, int], datetime]]) -> bool:
    """Wait until the guard wasn't needed for the quiet time; False as soon as somebody needs it.

    `look` tells since when it wasn't, how often each was, and the time, as `observe` does.
    """
    quiet = quiet_seconds(ground.plan)
    said = False
    while True:
        seen, uses, now = look()
        left = quiet - (now - seen.since).total_seconds()
        if not uses or left <= 0:
            return True
        if seen.broken:
            needed = ", ".join(f"{table} ({count} times)" for table, count in uses.items() if count)
            ground.notify(f"verify: the write guard stays: old code still needs it for {needed}")
            return False
        if not said:
            ground.notify(
                f"verify: the write guard goes in {left:.0f} s if nothing needs it: nothing has since "
                f"{seen.since:%Y-%m-%d %H:%M:%S}, and old code gets {quiet:g} s to show itself. Nothing is "
                "lost by Ctrl-C and `tenantry run` later; `quiet` in [verify] of the plan sets another time"
            )
            said = True
        time.sleep(min(left, POLL))


def steps(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Taking the guard away: all of it or nothing, decided before the first step."""
    decided: bool | None = None

    def gate(ground: Ground) -> bool:
        nonlocal decided
        if decided is None:
            decided = unneeded(ground, lambda: observe(ground))
        return decided

    for step in guard.retire(plan, original):
        yield replace(step, gate=gate)
