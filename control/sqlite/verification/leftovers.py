"""What the migration leaves in the file beside its ledger."""

import sqlite3

from control.sqlite.stage import Ground
from control.sqlite.verification.rows import Check
from control.status import LAST
from control.verification import check
from control.verification.check import listed
from sql.sqlite import catalog, copying
from sql.sqlite.ledger import LASTING
from worker import ledger


def nothing_left(ground: Ground) -> check.Check:
    """Whether nothing is left that was made for a while only."""
    found = [
        name
        for name in catalog.ours(ground.connection)
        if not any(name == kept or name.startswith(f"{kept}_") for kept in LASTING)
    ]
    stages = ledger.stages(ground.connection, ground.migration) if ground.migration else {}
    begun = [name for name, stage in stages.items() if stage.state != "done" and name != LAST]
    way_out = (
        f"{begun[0]} is not done, and needs it: leave it to `tenantry run`" if begun else "DROP what is left"
    )
    told = f"{listed(found, 10)}; {way_out}" if found else "no temporary table, index or trigger"
    return Check("nothing is left but the ledger", not found, told, "catalog.objects")


def integrity(ground: Ground) -> check.Check:
    """`integrity_check`: every page, every index against its table, every constraint."""
    name = "the file is whole"
    try:
        faults = copying.faults(ground.connection)
    except sqlite3.DatabaseError as error:
        faults = [str(error)]
    return Check(name, not faults, listed(faults) or "integrity_check: ok", "copying.integrity")
