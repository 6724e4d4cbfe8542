"""A file's migration in a maintenance window: without throttle and guard, while nobody else has it open.

That is seen by the processes of this machine. Which of another user's have the file open only root sees, and
not every operating system tells: what can't be seen is said, and left to the operator.
"""

from collections.abc import Iterator

from control.sqlite.preflight.openers import openers
from control.sqlite.stage import Ground, Stage, Step
from control.stage import Closed
from control.window import ALONE, unless_alone


def occupied(ground: Ground, stage: str) -> Closed | None:
    """Who else has the file open now; None where nobody has, or nobody has to be away."""
    if not ground.window or stage not in ALONE:
        return None
    found = openers(ground.connection.path)
    if found is None:
        ground.notify(f"{stage}: who has the file open can't be seen on this machine; see that nobody has")
        return None
    if found.hidden:
        ground.notify(
            f"{stage}: {found.hidden} processes of other users can't be looked into; see that none of them "
            "has the file open, or run as root"
        )
    return unless_alone(found.seen)


def steps(stage: Stage, ground: Ground) -> Iterator[Step]:
    """A stage's steps; in a window without those of the guard."""
    for step in stage.steps(ground.plan, ground.original):
        if not (ground.window and step.guards):
            yield step
