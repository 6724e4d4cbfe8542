"""What a run would do, without doing it: every statement with its lock, or all of it as a script.

The statements are the stages' own steps, so that a dry run can't tell anything else than what a run does. The
backfill alone is told differently: as one UPDATE per table, where a run cuts it into batches.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from psycopg import sql

from control.jobs import COMMITS, heap_of, is_instant, job_spec, parts, rules_of
from control.plan.sections import Table
from control.schemas import making
from control.schemas.patterns import as_they_are
from control.stage import Ground, How, Stage, Step, Works
from sql.errors import GivenWrongError
from sql.named import one_line
from sql.postgres import catalog, dry_run, facts
from sql.postgres.facts import Catalog
from worker import ledger

_HOW = {
    How.BRIEF: "milliseconds",
    How.ONLINE: "makes nobody wait",
    How.PLAIN: "no lock that anybody waits for",
}


@dataclass(frozen=True, slots=True)
class Told:
    """One statement of a run: what it is for, its lock, what it costs, its text, and whether it is done.

    `why` says of a backfill how it is cut and why so; empty for all else.
    """

    stage: str
    what: str
    lock: str
    cost: str
    statement: str
    done: bool
    why: str = ""


def statements(stages: Iterable[Stage], ground: Ground) -> Iterator[Told]:
    """Tell every statement in order; stages without one (a confirmation, a check) have none here.

    Raises:
        CatalogError: a table of the plan is not there.
    """
    live = catalog.read(ground.connection, [table.name for table in ground.plan.tables])
    over = _stages_done(ground)
    told: set[str] = set()
    for stage in stages:
        for step in _not_told(stage, ground, told):
            yield Told(
                stage=stage.name,
                what=step.what,
                lock=step.lock,
                cost=_cost(step, live),
                statement=_text(step.statement, ground),
                done=stage.name in over or _there_already(step, live),
            )
        if stage.name == "backfill":
            yield from _fills(ground, live, done=stage.name in over)
        if stage.name == "schemas":
            yield _schemas(ground, done=stage.name in over)


def _not_told(stage: Stage, ground: Ground, told: set[str]) -> Iterator[Step]:
    """The steps not told before: a stage makes sure of what an earlier one did, and finds it done."""
    for step in stage.steps(ground.plan, ground.original):
        text = _text(step.statement, ground)
        if text not in told:
            told.add(text)
            yield step


def _stages_done(ground: Ground) -> set[str]:
    if not ground.migration:
        return set()
    recorded = ledger.stages(ground.connection, ground.migration).values()
    return {record.name for record in recorded if record.state == "done"}


def _fills(ground: Ground, live: Catalog, *, done: bool) -> Iterator[Told]:
    backfill = ground.plan.backfill
    for table in ground.plan.in_order():
        if is_instant(ground.plan, table, ground.original):
            yield Told(
                stage="backfill",
                what=f"{table.name}: nothing to fill, the default of the new column answers for every row",
                lock="none",
                cost="instant, whatever the size: no row is written",
                statement="-- none: it came with the column",
                done=done,
            )
            continue
        held = ", triggers held off" if ground.plan.holds_triggers(table) else ""
        for part in parts(live.table(table.name)):
            update, _ = _fill(ground, table, part)
            spec, why = job_spec(ground.plan, table, part, heap_of(ground.connection, part))
            yield Told(
                stage="backfill",
                what=f"{_called(table, part)}: fill {ground.plan.tenant.column}, in batches",
                lock="ROW EXCLUSIVE",
                cost=f"{_rows(part)}, {_size(part)}; each batch about {backfill.target}",
                statement=_text(update, ground),
                done=done,
                why=f"{spec.ranges}, because {why}{held}; {COMMITS[backfill.synchronous_commit]}",
            )


#: Whom the statements of a schema are told of.
_SOMEBODY = "acme"


def _schemas(ground: Ground, *, done: bool) -> Told:
    """What makes the schema of one tenant; those of the others are alike, and may be a thousand."""
    found = as_they_are(ground)
    names = ", ".join(named for named, _ in found.named)
    made = making.make(_SOMEBODY, found.named, ground.plan.tenant.column)
    return Told(
        stage="schemas",
        what=f"for each tenant, as for {_SOMEBODY}: a schema with {names}, kept current, filled in batches",
        lock="ROW EXCLUSIVE",
        cost=f"each batch about {ground.plan.backfill.target}",
        statement=_text(made, ground),
        done=done,
        why="both sides are kept the same by triggers, then compared by rows and checksums",
    )


def _called(table: Table, part: facts.Table) -> str:
    return table.name if part.partition_of is None else f"{table.name}, {part.identifier.as_string()}"


def _to_fill(ground: Ground) -> Iterator[Table]:
    """The tables whose rows must be written, parents first: a constant default answers for the others."""
    return (table for table in ground.plan.in_order() if not is_instant(ground.plan, table, ground.original))


def _fill(ground: Ground, table: Table, found: facts.Table) -> tuple[sql.Composed, sql.Composed]:
    return dry_run.fill(found.identifier, ground.plan.source_of(table), rules_of(ground.plan, table))


def _filled(ground: Ground, table: Table) -> tuple[sql.Composed, ...]:
    """A whole table's backfill for a script: partitions and all."""
    fill = _fill(ground, table, ground.original.table(table.name))
    return (*dry_run.without_triggers(fill[0]), fill[1]) if ground.plan.holds_triggers(table) else fill


def script(stages: Iterable[Stage], ground: Ground) -> Iterator[str]:
    """Write a run as lines of SQL that `psql -f` takes; it stops at the first error.

    Raises:
        GivenWrongError: the migration is under way, so that a script from the beginning would not fit.
    """
    if ground.plan.separates:
        raise GivenWrongError(
            "a script can't tell which tenants there will be once rows have theirs, and makes no schemas; "
            "`tenantry plan` without --sql shows what a run does, `tenantry rehearse` does it on a copy"
        )
    if ground.migration:
        raise GivenWrongError(
            f"migration {ground.plan.name!r} is under way, and a script starts at the beginning; "
            "`tenantry plan` without --sql shows what is left"
        )
    yield f"-- Migration {ground.plan.name}, as `tenantry plan --sql` wrote it, for `psql -f` on a copy."
    yield r"\set ON_ERROR_STOP on"
    yield _ended(_text(dry_run.session(), ground))
    told: set[str] = set()
    for stage in stages:
        yield from ("", f"-- Stage {stage.name}")
        for step in _not_told(stage, ground, told):
            if not _there_already(step, ground.original):
                yield from _step(step, ground)
        if stage.name == "backfill":
            for table in _to_fill(ground):
                yield from ("", f"-- {one_line(table.name)}")
                yield from (_ended(_text(statement, ground)) for statement in _filled(ground, table))
        elif isinstance(stage, Works):
            yield f"-- A run does here what is no statement of its own: see `tenantry run --to {stage.name}`."


def _step(step: Step, ground: Ground) -> Iterator[str]:
    yield from ("", f"-- {one_line(step.what)} ({step.lock})")
    if step.gate is not None:
        yield "-- A run goes on from here only when this step's gate is open."
    statement = _ended(_text(step.statement, ground))
    if step.how is How.BRIEF and step.tables:
        yield from ("BEGIN;", _ended(_text(dry_run.announced(step.tables), ground)), statement, "COMMIT;")
    else:
        yield statement


def _there_already(step: Step, found: Catalog) -> bool:
    """Whether the step is done though its stage is not: an index that was there before, say.

    Taking away what only an earlier step will make looks done as well, and isn't.
    """
    return step.done(found) and not re.search(r"\bDROP\b", step.statement.as_string())


def _cost(step: Step, live: Catalog) -> str:
    named = {table.as_string() for table in step.tables}
    read = [table for table in live.tables.values() if table.identifier.as_string() in named]
    if step.how is How.ONLINE and read:
        largest = max(read, key=lambda table: table.bytes)
        return f"{_HOW[step.how]}; reads {_rows(largest)}, {_size(largest)}"
    return _HOW[step.how]


def _rows(table: facts.Table) -> str:
    return f"about {table.rows:,} rows" if table.rows >= 0 else "rows not counted yet"


def _size(table: facts.Table) -> str:
    megabytes = table.bytes / 1e6
    return f"{megabytes / 1000:,.1f} GB" if megabytes >= 1000 else f"{megabytes:,.1f} MB"


def _text(statement: sql.Composed, ground: Ground) -> str:
    return statement.as_string(ground.connection)


def _ended(statement: str) -> str:
    return statement if statement.rstrip().endswith(";") else f"{statement};"
