"""What the migration leaves in the file beside its ledger."""

import sqlite3
from collections.abc import Iterable

from control.sqlite import guard
from control.sqlite.stage import Ground, Step
from control.sqlite.verification.rows import Check
from control.status import LAST
from control.verification import check
from control.verification.check import listed
from sql.sqlite import catalog, copying
from sql.sqlite.ledger import LASTING
from sql.sqlite.words import words
from worker import ledger


def nothing_left(ground: Ground) -> check.Check:
    """Whether nothing is left that was made for a while only."""
    guards = _named_by(guard.put(ground.plan, ground.original))
    found = [
        name
        for name in catalog.ours(ground.connection)
        if name not in guards and not any(name == kept or name.startswith(f"{kept}_") for kept in LASTING)
    ]
    stages = ledger.stages(ground.connection, ground.migration) if ground.migration else {}
    begun = [name for name, stage in stages.items() if stage.state != "done" and name != LAST]
    way_out = (
        f"{begun[0]} is not done, and needs it: leave it to `tenantry run`" if begun else "DROP what is left"
    )
    told = f"{listed(found, 10)}; {way_out}" if found else "no temporary table, index or trigger"
    return Check("nothing is left but the ledger", not found, told, "catalog.objects")


def _named_by(steps: Iterable[Step]) -> set[str]:
    """What of ours steps speak of."""
    every = (word for step in steps for statement in step.statements for word in words(statement))
    return {word.named for word in every if word.kind == "name"}


def write_guard(ground: Ground) -> check.Check:
    """Whether the guard for old code is gone; one that stays is told, with what needed it."""
    name, query = "write guard", "guard.uses"
    uses = guard.uses(ground.connection, ground.plan, ground.original)
    if not uses:
        return Check(name, None, "gone, or never needed: what code writes has to name its tenant", query)
    needed = ", ".join(f"{table} {use.uses} times" for table, use in uses.items())
    return Check(name, None, f"still there; it was needed for {needed}", query)


def integrity(ground: Ground) -> check.Check:
    """`integrity_check`: every page, every index against its table, every constraint."""
    name = "the file is whole"
    try:
        faults = copying.faults(ground.connection)
    except sqlite3.DatabaseError as error:
        faults = [str(error)]
    return Check(name, not faults, listed(faults) or "integrity_check: ok", "integrity.whole")
