"""A migration in a maintenance window: the same stages without throttle and guard, while nobody is at work.

The operator stops the application, runs, deploys at `application`, tests in `observe`, and resumes. Nobody
writes meanwhile, so nothing guards the rows that old code would write: a run refuses to take a stage that
changes something while another session could touch the tables. An idle session of a pool is one of those: its
next statement may come at any time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from control.stage import Closed, Ground, Stage, Standing, Step
from control.unscoped import QuietTime
from sql.errors import GateClosedError, GivenWrongError
from sql.postgres.window import sessions

#: Where the ledger keeps that the columns were added without a guard.
MEMORY = "window"
#: Stages that want to be alone; at the others nothing changes, or the application is tested.
ALONE = frozenset({"columns", "backfill", "indexes", "keys", "rls", "schemas", "switch"})
#: Sessions that are named; the others are counted.
_MOST = 10


def settle(ground: Standing, states: Mapping[str, str]) -> None:
    """Keep how the columns come to be added; refuse to go on beside an application without a guard.

    Raises:
        GivenWrongError: it was begun in a window, and the run at hand is none.
    """
    if states.get("columns") != "done":
        # However an earlier run began them, this one goes through them, with their guard or without it.
        ground.memory.remember(MEMORY, {"unguarded": ground.window})
        return
    kept = ground.memory.recall(MEMORY) or {}
    if kept.get("unguarded") and not ground.window and states.get("verify") != "done":
        raise GivenWrongError(
            f"{ground.plan.name} was begun in a maintenance window, and no guard gives the rows of old code "
            "their tenant; go on with `tenantry run --maintenance-window`, or roll back"
        )


def occupied(ground: Ground, stage: str) -> Closed | None:
    """Who else could touch the tables now; None where nobody can, or nobody has to be away."""
    if not ground.window or stage not in ALONE:
        return None
    found = sessions(ground.connection, [table.identifier for table in ground.original.tables.values()])
    return unless_alone([str(session) for session in found])


def unless_alone(found: Sequence[str]) -> Closed | None:
    """Who is to go first; None where nobody was found."""
    if not found:
        return None
    named = list(found[:_MOST])
    if len(found) > _MOST:
        named.append(f"and {len(found) - _MOST} more")
    return Closed(
        tuple(named),
        "Stop the application, its pools and jobs, then `tenantry run --maintenance-window`",
    )


def steps(stage: Stage, ground: Ground) -> Iterator[Step]:
    """A stage's steps; in a window no quiet time opens a gate, for nobody is there to break it."""
    for step in stage.steps(ground.plan, ground.original):
        yield replace(step, gate=_tested) if ground.window and isinstance(step.gate, QuietTime) else step


def _tested(ground: Ground) -> bool:
    if "rls" in ground.confirmed:
        return True
    raise GateClosedError(
        "rls",
        ["nobody is at work in a maintenance window, so a quiet time would prove nothing"],
        "Test the new code now: what it does without a tenant is counted, and still works. Then stop it, "
        "`tenantry confirm rls` and `tenantry run --maintenance-window`",
    )
