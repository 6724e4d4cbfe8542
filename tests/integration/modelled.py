"""What holds of a ledger whatever is done to it, for the models of both databases."""

import os
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from sql.database import Database
from sql.ledger import JOBS, send
from worker import jobs
from worker.jobs import Job

#: Rows of the table that is filled.
ROWS = 40
_FEW = st.sets(st.integers(1, ROWS), max_size=3)
#: Which of them fail: a few, or, one time in four, so many that the job stops itself.
BROKEN = st.one_of(_FEW, _FEW, _FEW, st.just(set(range(1, 31))))
#: How often a driver looks before it is stuck.
_LOOKS = 300


def walked(machine: Callable[[], RuleBasedStateMachine], examples: int, steps: int = 30) -> None:
    """Go so many random ways of so many steps; `SEED` chooses others, the same every time without it."""
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # it takes whatever makes one
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize="SEED" not in os.environ,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
        ),
    )


def gapless(connection: Database, job: Job) -> None:
    """What is planned so far is one chain from the first key to where the planning is, in each stripe."""
    if job.planned_to is not None:
        gaps = send(connection, JOBS.gaps, job=job.id, stripes=job.spec.stripes, last_key=job.planned_to)
        assert gaps == []


def driven(step: Callable[[Job], bool | None], connection: Database, job_id: int) -> bool:
    """Drive a job by steps to its end: whether it is complete, as a step that ends it says else."""
    for _ in range(_LOOKS):
        job = jobs.read(connection, job_id)
        if job.state == "complete":
            return True
        if (ended := step(job)) is not None:
            return ended
    raise AssertionError("it is stuck")
