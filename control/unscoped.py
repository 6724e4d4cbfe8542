"""Who comes without a tenant: how often, since when, by which application; and the gate before strict.

The server counts by role; what a role's sessions call themselves is sampled when its count grows.
Both are kept in the ledger, so that neither a crash of the server, which forgets its counts, nor a controller
that is started again forgets who it was.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from control import policies, retiring
from control.holds import Fact
from control.quiet import since
from control.stage import Ground, Memory
from sql.errors import GateClosedError
from sql.postgres import rls
from sql.postgres.connection import Connection

#: The stage whose gate this is; the operator confirms it by this name.
STAGE_NAME = "rls"
#: Where the ledger keeps since when it has been quiet.
MEMORY = "rls.unscoped"
#: Where the ledger keeps who was counted.
WHO = "rls.who"
#: How many quiet times a run waits before it leaves the gate closed.
PATIENCE = 3
#: Seconds between two looks.
POLL = 0.5
#: An idle session reports its statistics this late.
REPORTED_LATE = timedelta(seconds=10)
#: Application names kept for a role: one that puts a number into its name would have no end of them.
MOST_NAMES = 10


class Unscoped(Fact):
    """Accesses of one role without a tenant; both times are None until one is on record."""

    role: str
    accesses: int
    since: datetime | None = None
    last: datetime | None = None
    applications: tuple[str, ...] = ()

    def __str__(self) -> str:
        times = "" if self.accesses == 1 else "es"
        told = f"{self.role}: {self.accesses} access{times} without a tenant"
        if self.since is not None and self.last is not None:
            told += f" since {self.since:%Y-%m-%d %H:%M:%S}, the last at {self.last:%H:%M:%S}"
        return f"{told}, by {', '.join(self.applications)}" if self.applications else told


def read(connection: Connection, memory: Memory) -> tuple[Unscoped, ...]:
    """Who has come without a tenant until now; nobody once nothing counts any more. Keeps nothing."""
    count = rls.count(connection)
    if count is None:
        return ()
    kept = memory.recall(WHO) or {}
    on_record = kept.get("roles", {})
    return tuple(
        one if one.role in on_record else one.model_copy(update={"since": None, "last": None})
        for one in _told(_looked(connection, kept, count))
    )


def observe(connection: Connection, memory: Memory, count: rls.Count) -> tuple[Unscoped, ...]:
    """The same, and keep it."""
    kept = memory.recall(WHO)
    now = _looked(connection, kept or {}, count)
    if now != kept:
        memory.remember(WHO, now)
    return _told(now)


def _told(kept: dict[str, Any]) -> tuple[Unscoped, ...]:
    found = [Unscoped(role=role, **one["seen"]) for role, one in kept["roles"].items()]
    return tuple(sorted(found, key=lambda one: -one.accesses))


def _looked(connection: Connection, kept: dict[str, Any], count: rls.Count) -> dict[str, Any]:
    """What is kept, brought up to now."""
    known: dict[str, dict[str, Any]] = dict(kept.get("roles", {}))
    if kept.get("by") != count.counted_by:
        # Counted from nothing again: what was known stays, and what is counted now comes on top.
        known = {role: one | {"calls": 0} for role, one in known.items()}
    grown = [
        one for one in rls.unscoped_roles(connection) if one.calls > known.get(one.role, {}).get("calls", 0)
    ]
    at_work: dict[int, list[str]] = {}
    if grown:
        at_work = rls.applications(connection, [one.oid for one in grown], count.now - REPORTED_LATE)
    now = count.now.isoformat()
    for one in grown:
        was = known.get(one.role, {"calls": 0, "seen": {"accesses": 0, "since": now, "applications": []}})
        seen = was["seen"]
        applications = dict.fromkeys([*at_work.get(one.oid, []), *seen["applications"]])
        known[one.role] = {
            "calls": one.calls,
            "seen": {
                "accesses": seen["accesses"] + one.calls - was["calls"],
                "since": seen["since"],
                "last": now,
                "applications": list(applications)[:MOST_NAMES],
            },
        }
    return {"by": count.counted_by, "roles": known}


@dataclass(frozen=True, slots=True)
class QuietTime:
    """The gate before strict, as a step's: open after so many seconds without one unscoped access."""

    seconds: float

    def __call__(self, ground: Ground) -> bool:
        """Wait for it."""
        return await_quiet(ground, self.seconds)


def await_quiet(ground: Ground, quiet: float) -> bool:
    """Wait for `quiet` seconds without one unscoped access, at most three times as long.

    What was counted, and since when it is quiet, is in the ledger: a controller that is started again goes
    on waiting where the last one was.

    Raises:
        GateClosedError: it isn't quiet, or can't be known to be, and the operator hasn't confirmed `rls`.
        CatalogError: the function that counts isn't there.
    """
    until: float | None = None
    said: datetime | None = None
    tables = [target.table.oid for target in policies.targets(ground.plan, ground.original)]
    while STAGE_NAME not in ground.confirmed:
        # The write guard's quiet runs beside this one: `verify` asks for it next.
        retiring.observe(ground)
        count = rls.unscoped_accesses(ground.connection)
        seen = since(ground.memory, MEMORY, {"calls": count.calls, "by": count.counted_by}, count.now)
        who = observe(ground.connection, ground.memory, count)
        # From the first look on: one at a hundred tables may take longer than a short quiet time's patience.
        until = until or time.monotonic() + PATIENCE * quiet
        left = quiet - (count.now - seen.since).total_seconds()
        lasting = _lasting(ground, count)
        unreported = rls.unreported(ground.connection, tables, seen.since) if left <= 0 else []
        if left <= 0 and not lasting and not unreported:
            return True
        passing = f"{count.calls} unscoped accesses counted, none since {seen.since:%Y-%m-%d %H:%M:%S %z}"
        facts = [*lasting, passing, *map(str, who), *_untold(unreported)]
        if lasting or time.monotonic() >= until:
            raise GateClosedError(STAGE_NAME, facts, _opens(quiet, lasting=bool(lasting)))
        if seen.since != said:
            ground.notify(f"rls: {'; '.join(facts)}; strict in {max(left, 0):.0f} s if it stays quiet")
            said = seen.since
        time.sleep(min(left, POLL) if left > 0 else POLL)
    ground.notify("rls: strict, as the operator confirmed")
    return True


def _lasting(ground: Ground, count: rls.Count) -> list[str]:
    """What keeps strict closed and won't change by waiting."""
    facts = [
        f"{bridge.role} begins its sessions as {bridge.tenant!r} (ALTER ROLE or DATABASE … SET): "
        "unscoped code there isn't counted"
        for bridge in rls.bridged_roles(ground.connection, ground.plan.tenant.setting)
    ]
    if not count.counting:
        facts.append("unscoped access can't be counted: track_functions is off and this role may not set it")
    return facts


def _untold(sessions: Sequence[str]) -> list[str]:
    """Sessions whose counts can't be known yet."""
    return [f"{session}: what it did without a tenant is counted when that ends" for session in sessions]


def _opens(quiet: float, *, lasting: bool) -> str:
    if lasting:
        return "Mend that, or open it with `tenantry confirm rls`"
    return f"`tenantry run` opens it after {quiet:g} s without one; `tenantry confirm rls` opens it now"
