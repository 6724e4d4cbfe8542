"""How what a migration is at is said, on a screen and in a line alike. All of it is pure."""

from collections.abc import Iterator
from datetime import datetime

from control.building import Building
from control.governed import GovernorStatus
from control.holds import Holds, SetAside, Waiting
from control.status import Notifications, StageStatus, Status, TableStatus
from control.tuning import told
from worker.audit import Event

#: What leads out of a quarantine, and what lets a job go on that stopped itself.
WAY_OUT = "mend the cause, then `tenantry retry` and `tenantry run`"


def took(stage: StageStatus, now: datetime) -> str:
    """Say how long a stage took, or has taken so far."""
    if stage.started_at is None:
        return ""
    return duration(((stage.finished_at or now) - stage.started_at).total_seconds())


def tuned(shown: Status) -> str:
    """Say what is in force in place of the plan's own."""
    return "tuned: " + ", ".join(f"{key} {told(key, value)}" for key, value in shown.tuned.items())


def held_back(shown: Status, reason: str) -> str:
    """Say why no batch goes; or, where others' do, at how many workers."""
    if 0 < shown.workers_holding < shown.workers_alive:
        return f"{shown.workers_holding} of {counted(shown.workers_alive, 'worker')} held: {reason}"
    return f"held: {reason}"


def pace(governor: GovernorStatus) -> str:
    """Say how fast batches go, what the governor does about it, and why."""
    return f"{speed(governor)}: {governor.reason}" if governor.reason else speed(governor)


def speed(governor: GovernorStatus) -> str:
    """Say how fast batches go, and what the governor does about it."""
    age = duration(governor.sample_age_seconds)
    return f"pace {governor.share:.0%} of full speed, {governor.zone.value}, sampled {age} ago"


def unheard(found: Notifications) -> str | None:
    """Say what the webhook has not got; None where nothing stands in the way of what is on its way."""
    lost = found.refused + found.given_up
    if found.error is None or not (found.due or lost):
        return None
    late = [f"{found.due} not sent yet"] if found.due else []
    never = [f"{lost} refused or given up"] if lost else []
    return f"notifications: {', '.join(late + never)} ({found.error}); `tenantry events` has them"


def stops(table: TableStatus) -> Iterator[str]:
    """Say which of a table's jobs stopped themselves."""
    for part in table.parts or [table]:
        if part.state == "stopped":
            where = table.name if part is table else f"{table.name} ({part.name})"
            yield stop(where, part.reason)


def stop(where: str, reason: str | None) -> str:
    """Say why a job stopped itself, and the way out."""
    return f"{where} stopped itself: {reason}; {WAY_OUT}"


def waits(waiting: Waiting, now: datetime) -> list[str]:
    """Say which batches wait, why and until when; then, a line each, who blocks them."""
    verb = "waits" if waiting.batches == 1 else "wait"
    then = ""
    if waiting.next_try_at is not None:
        left = (waiting.next_try_at - now).total_seconds()
        then = f"; next try in {duration(left)}" if left > 0 else "; next try due"
    who = f"{waiting.where}: {counted(waiting.batches, 'batch', 'batches')} {verb}"
    how_long = duration((now - waiting.since).total_seconds())
    lines = [f"{who} for {how_long}: {_because_of(waiting)}{then}"]
    lines += [
        f"{'blocked' if blocking.certain else 'perhaps'} by {blocking.session}"
        for blocking in waiting.blocked_by
    ]
    if waiting.hidden is not None:
        lines.append(f"what other roles' sessions do is hidden from this one: {waiting.hidden}")
    return lines


def _because_of(failed: Waiting | SetAside) -> str:
    """The server's message with the code and its meaning; or what of the three is known."""
    message = failed.message if isinstance(failed, SetAside) else failed.error
    code = " ".join(part for part in (failed.sqlstate, failed.meaning) if part)
    return f"{message} [{code}]" if message and code else message or code


def held(holds: Holds, now: datetime) -> Iterator[str]:
    """Tell all that is held, and what to do next."""
    for row in holds.rows:
        key = ", ".join(f"{name}={value}" for name, value in row.key.items())
        yield f"{row.where} {key}: {_because_of(row)}, since {row.since:%Y-%m-%d %H:%M:%S}"
    if holds.more:
        yield f"and {holds.more:,} more"
    for waiting in holds.waiting:
        first, *more = waits(waiting, now)
        yield first
        yield from (f"  {line}" for line in more)
    yield from (stop(stopped.where, stopped.reason) for stopped in holds.stopped)
    yield _next(holds)


def _next(holds: Holds) -> str:
    if holds.rows or holds.stopped:
        return WAY_OUT[0].upper() + WAY_OUT[1:]
    if holds.waiting:
        return "They are tried again by themselves; `tenantry retry` lets them go at once"
    return "nothing is held"


def built(building: Building) -> str:
    """Say how far an index is, when it will be done, and whom its building waits for."""
    name = building.index or "an index"
    told = [f"{building.table}: {name} {building.share:.0%}, {building.phase}"]
    if building.total and building.waits_for is None:
        told.append(f"{min(building.done, building.total):,} of {building.total:,} {building.counts}")
    if building.eta_seconds is not None:
        told.append(f"ETA {duration(building.eta_seconds)}")
    if building.waits_for is not None:
        told.append(f"behind {building.waits_for}")
    return ", ".join(told)


def figures(event: Event) -> str:
    """Say of a statement, in brackets, its lock and its times, or why it failed; nothing of anything else."""
    if event.statement is None:
        return ""
    lock = "" if event.lock == "none" else f"{event.lock}, "
    if event.error is not None:
        return f" ({lock}failed: {event.error})"
    if event.took_ms is None:
        return f" ({lock}not known to have ended)"
    attempts = f" in {event.attempts} attempts" if (event.attempts or 1) > 1 else ""
    return f" ({lock}waited {event.waited_ms:.0f} ms{attempts}, took {event.took_ms:.0f} ms)"


def details(table: TableStatus) -> str:
    """Say how a table is paged, how big its batches are, and how many updates stayed in their page."""
    if table.paging is None or (table.state == "complete" and not table.rows_done):
        return ""
    told = [table.paging, f"{counted(table.batch_rows or 0, 'row')} a batch"]
    if table.heap_only_share is not None:
        told.append(f"{table.heap_only_share:.0%} of the updates heap-only")
    if table.parts:
        complete = sum(part.state == "complete" for part in table.parts)
        told.append(f"{complete} of {len(table.parts)} parts complete")
    return f"{table.name}: {', '.join(told)}"


def counted(number: int, one: str, several: str | None = None) -> str:
    """Write a number of things: 1 row, 1,234 rows."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def share(table: TableStatus) -> float:
    """How far a table is, 0 to 1: never past it, for the total is an estimate until the table is complete."""
    if table.state == "complete":
        return 1.0
    if not table.rows_total:
        return 0.0
    return min(1.0, table.rows_done / table.rows_total)


def rows(table: TableStatus) -> str:
    """Say how many rows of a table have their tenant."""
    if table.rows_total is None:
        return "waiting"
    if table.state == "complete":
        return f"{table.rows_done:,} rows" if table.rows_done else "nothing to fill"
    return f"{table.rows_done:,} of {max(table.rows_total, table.rows_done):,}"


def rate(table: TableStatus) -> str:
    """Say how many rows per second a table gets, or got until it was complete."""
    return f"{table.rows_per_second:,.0f} rows/s" if table.rows_done else ""


def eta(table: TableStatus) -> str:
    """Say when a table will be complete, where that can be told."""
    if table.state == "complete":
        return duration(table.seconds) if table.rows_done else ""
    return f"ETA {duration(table.eta_seconds)}" if table.eta_seconds is not None else ""


def duration(seconds: float) -> str:
    """Write seconds as people read them: 0.3 s, 12 s, 3:07, 1:02:03."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
