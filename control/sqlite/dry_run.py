"""What a run on a file would do, without doing it: every statement with its lock and cost, or as a script.

The statements are the stages' own steps, so that a dry run can't tell anything else than what a run does. The
backfill alone is told differently: as one UPDATE per table, where a run cuts it into batches.
"""

from collections.abc import Container, Iterable, Iterator, Mapping

from control.dry_run import Told
from control.plan.sections import Table as PlanTable
from control.sqlite import guard
from control.sqlite.conductor import IN_ORDER
from control.sqlite.expected import after_columns
from control.sqlite.jobs import is_instant, job_spec
from control.sqlite.preflight import pricing
from control.sqlite.preflight.estimate import sizes, whole
from control.sqlite.rebuild.course import SHORT
from control.sqlite.rebuild.script import anew, pinned
from control.sqlite.rebuild.sides import sides
from control.sqlite.stage import WRITE_LOCK, Ground, Live, Step
from control.sqlite.steps import live
from control.stage import Works
from control.watch.words import duration
from sql.errors import GivenWrongError
from sql.named import one_line
from sql.sqlite import dry_run
from sql.sqlite.batch import JobSQL
from sql.sqlite.preflight import Size
from worker import ledger


def statements(ground: Ground) -> Iterator[Told]:
    """Tell every statement in order; stages without one (a confirmation, a check) have none here."""
    now, found = live(ground.connection), sizes(ground)
    over = _stages_done(ground)
    for stage in IN_ORDER.values():
        for step in stage.steps(ground.plan, ground.original):
            yield Told(
                stage=stage.name,
                what=step.what,
                lock=step.lock,
                cost=_cost(step, found),
                statement=";\n".join(step.statements),
                done=stage.name in over or _there_already(step, now),
            )
        if stage.name == "backfill":
            yield from _fills(ground, found, done=stage.name in over)
        if stage.name == "keys":
            yield from _keys(ground, found, done=stage.name in over)


def _stages_done(ground: Ground) -> set[str]:
    if not ground.migration:
        return set()
    recorded = ledger.stages(ground.connection, ground.migration).values()
    return {record.name for record in recorded if record.state == "done"}


def _there_already(step: Step, now: Live) -> bool:
    """Whether the step is done though its stage is not: an index that was there before, say.

    Taking away what only an earlier step will make looks done as well, and isn't.
    """
    return step.done(now) and not any(pricing.takes_away(statement) for statement in step.statements)


def _cost(step: Step, found: Mapping[str, Size]) -> str:
    seconds = sum(pricing.seconds(one, found) for one in step.statements)
    return "milliseconds" if seconds < 0.02 else f"about {duration(seconds)}"


def _fills(ground: Ground, found: Mapping[str, Size], *, done: bool) -> Iterator[Told]:
    plan, original = ground.plan, ground.original
    for table in plan.in_order():
        if is_instant(plan, table, original):
            yield Told(
                stage="backfill",
                what=f"{table.name}: nothing to fill, the default of the new column answers for every row",
                lock="none",
                cost="instant, whatever the size: no row is written",
                statement="-- none: it came with the column",
                done=done,
            )
            continue
        size = found[original.table(table.name).name]
        statement, why = _fill(ground, table)
        yield Told(
            stage="backfill",
            what=f"{table.name}: fill {plan.tenant.column}, in batches",
            lock=WRITE_LOCK,
            cost=f"{size.rows:,} rows, {size.bytes_ / 1e6:,.1f} MB; each batch about {plan.backfill.target}",
            statement=statement,
            done=done,
            why=why,
        )


def _fill(ground: Ground, table: PlanTable) -> tuple[str, str]:
    """A table's backfill in one statement, and why it is cut as it is."""
    spec, why = job_spec(ground.plan, table, ground.original.table(table.name), ground.connection)
    return JobSQL(spec).fill_all(), why


def _keys(ground: Ground, found: Mapping[str, Size], *, done: bool) -> Iterator[Told]:
    """The tables that are made anew, as they will be."""
    before = after_columns(ground.plan, ground.original)
    wanted = sides(ground.plan, before)
    for group in wanted.groups():
        seconds = whole(group, found)
        how = "in one transaction" if seconds <= SHORT else "in batches, beside the old one"
        for one in group:
            told = [one.after.sql, *one.after.indexes.values()]
            yield Told(
                stage="keys",
                what=f"{one.name}: make it anew, {how}; exchanged with {', '.join(o.name for o in group)}",
                lock=WRITE_LOCK,
                cost=f"about {duration(seconds)} in all",
                statement=";\n".join(told),
                done=done,
                why="rowids, triggers and views stay as they are; every value is compared before",
            )
    for pin in wanted.pins:
        yield Told(
            stage="keys",
            what=f"{pin.name}: say which columns its foreign keys name; its rows stay where they are",
            lock=WRITE_LOCK,
            cost="milliseconds",
            statement=pin.after,
            done=done,
        )


def script(ground: Ground) -> Iterator[str]:
    """Write a run as lines of SQL that the `sqlite3` shell takes; it stops at the first error.

    Raises:
        GivenWrongError: the migration is under way, so that a script from the beginning would not fit.
    """
    if ground.migration:
        raise GivenWrongError(
            f"migration {ground.plan.name!r} is under way, and a script starts at the beginning; "
            "`tenantry plan` without --sql shows what is left"
        )
    now = live(ground.connection)
    yield f"-- Migration {ground.plan.name}, as `tenantry plan --sql` wrote it; for a copy:"
    yield "-- sqlite3 -bail COPY < SCRIPT"
    yield from dry_run.session()
    guarding = {step.what for step in guard.put(ground.plan, ground.original)}
    if guarding:
        yield "-- Without the write guard: nobody else writes to a copy, and a run takes it away in the end."
    for stage in IN_ORDER.values():
        yield from ("", f"-- Stage {stage.name}")
        yield from _steps(stage.steps(ground.plan, ground.original), now, without=guarding)
        match stage.name:
            case "backfill":
                yield from _filled(ground)
            case "keys":
                yield from _made_anew(ground)
            case _ if isinstance(stage, Works):
                yield f"-- A run does here what is no statement: see `tenantry run --to {stage.name}`."


def _steps(steps: Iterable[Step], now: Live, *, without: Container[str]) -> Iterator[str]:
    for step in steps:
        if step.what not in without and not _there_already(step, now):
            yield from ("", f"-- {one_line(step.what)} ({step.lock})")
            yield from dry_run.together(step.statements)


def _filled(ground: Ground) -> Iterator[str]:
    for table in ground.plan.in_order():
        if not is_instant(ground.plan, table, ground.original):
            yield from ("", f"-- {one_line(table.name)}", dry_run.ended(_fill(ground, table)[0]))


def _made_anew(ground: Ground) -> Iterator[str]:
    before = after_columns(ground.plan, ground.original)
    wanted = sides(ground.plan, before)
    yield dry_run.legacy_alter_table(on=True)
    for group in wanted.groups():
        yield from ("", f"-- {one_line(', '.join(one.name for one in group))}")
        yield from dry_run.together(list(anew(group, before)))
    if wanted.pins:
        yield from ("", f"-- {one_line(', '.join(pin.name for pin in wanted.pins))}: foreign keys that stay")
        yield from dry_run.together(list(pinned(wanted.pins, before)))
    yield dry_run.legacy_alter_table(on=False)
