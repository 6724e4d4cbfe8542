"""Takes steps on a file, unless the schema says that they are done, with an entry in the audit for each."""

import time
from collections.abc import Callable, Iterable, Iterator

import structlog
from tenacity import (
    AttemptManager,
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from control.course import actor, go_on
from control.plan.model import Plan
from control.sqlite.stage import Ground, Live, Step
from sql.errors import CatalogError, FileBusyError, TenantryError
from sql.sqlite import catalog
from sql.sqlite.connection import File
from sql.sqlite.facts import Catalog
from worker import audit

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: As DDL is tried on a server (design, section 8): so many times, from one second to a minute between two.
_ATTEMPTS, _FIRST_WAIT, _LONGEST_WAIT = 30, 1.0, 60.0


def look(file: File, plan: Plan) -> Catalog:
    """The schema as it is, the plan's tables among it.

    Raises:
        PlanError: a table of the plan is not there.
    """
    found = catalog.read(file)
    for at, table in enumerate(plan.tables):
        if found.find(table.name) is None:
            raise plan.wrong(
                f"table {table.name} is not in this file; check its name, or leave it out of the plan",
                "tables",
                at,
                "name",
            )
    return found


def live(file: File) -> Live:
    """The schema as it is, with what of ours is in it."""
    return Live(catalog.read(file), catalog.ours(file))


def take(steps: Iterable[Step], ground: Ground, stage: str) -> None:
    """Take each step unless the schema says that it is done, and see afterwards that it says so.

    Raises:
        CatalogError: a step went through, and the schema doesn't show it.
        CancelledError: the migration is cancelled.
    """
    for step in steps:
        go_on(ground, stage)
        if step.done(live(ground.connection)):
            continue
        ground.notify(step.what)
        _run(step, ground, stage)
        if not step.done(live(ground.connection)):
            raise CatalogError(f"{step.what}: done, and yet the schema doesn't show it")


def _run(step: Step, ground: Ground, stage: str) -> None:
    """Run a step with an entry in the audit from before it to after it."""
    file = ground.connection
    event = audit.begin_statement(
        file,
        ground.migration,
        actor(),
        stage=stage,
        what=step.what,
        statement=";\n".join(step.statements),
        lock=step.lock,
    )
    begun, attempts = time.perf_counter(), 0
    try:
        for attempt in patiently(ground, step.what):
            with attempt:
                attempts += 1
                with file.transaction():
                    for statement in step.statements:
                        file.execute(statement)
    except TenantryError as error:
        audit.end_statement(file, event, error=str(error))
        raise
    waited = time.perf_counter() - begun - file.held
    audit.end_statement(file, event, attempts=attempts, waited=waited, took=file.held)


def patiently(ground: Ground, what: str) -> Iterator[AttemptManager]:
    """Try a whole transaction again while another writer is in the way, and tell who watches.

    Raises:
        FileBusyError: it still was at the last attempt.
    """
    with ground.connection.impatient():  # else each attempt would be as many
        yield from patience(ground.notify, what)


def patience(notify: Callable[[str], None], what: str) -> Retrying:
    """How a run waits for other writers; a `File.patience`, for what it writes into the ledger."""

    def told(state: RetryCallState) -> None:
        notify(f"{what}: another connection writes; attempt {state.attempt_number} of {_ATTEMPTS}")

    return Retrying(
        retry=retry_if_exception_type(FileBusyError),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential_jitter(initial=_FIRST_WAIT, max=_LONGEST_WAIT),
        before_sleep=told,
        reraise=True,
    )
