"""Whether a run may go on: what an operator has said meanwhile, read from the ledger.

Between two steps `go_on` asks; within a step that lasts nobody waits for a pause, and a cancel ends it.
"""

import getpass
import socket
import time

from control.stage import Standing
from sql.errors import CancelledError
from worker import ledger

#: Seconds between two looks while paused.
LOOK_EVERY = 0.5


def actor() -> str:
    """Who is at the keyboard, for the audit."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def go_on(ground: Standing, stage: str) -> bool:
    """Return once the next step may be taken: at once as a rule, after the pause where there is one (True).

    Call it outside a transaction: a pause may last for hours.

    Raises:
        CancelledError: the migration is cancelled.
    """
    paused = False
    while (state := ledger.state(ground.connection, ground.migration)) == "paused":
        paused = True
        time.sleep(LOOK_EVERY)
    if state == "cancelled":
        raise CancelledError(ground.plan.name, stage)
    return paused


def unless_cancelled(ground: Standing, stage: str) -> None:
    """Return at once, paused or not: a step at hand is let come to its end.

    Raises:
        CancelledError: the migration is cancelled.
    """
    if ground.migration and ledger.state(ground.connection, ground.migration) == "cancelled":
        raise CancelledError(ground.plan.name, stage)
