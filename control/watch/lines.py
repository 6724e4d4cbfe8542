"""A migration told line by line, where there is no terminal. All of it is pure."""

from control.holds import Waiting
from control.status import StageStatus, Status, TableStatus
from control.watch.view import View
from control.watch.words import built, counted, eta, held_back, pace, rate, rows, share, stops, took, waits

#: Seconds after which a failure that lasts is told: a row that somebody has for a moment is no news.
LASTS = 5.0


def changes(before: View | None, after: View) -> list[str]:
    """Say, one line each, what has begun or ended since what was shown before."""
    news = after.said - (before.said if before is not None else 0)
    lines = list(after.notices[-news:]) if news else []
    old, new = before.status if before is not None else None, after.status
    if new is None:
        return lines
    if old is None:
        return [*lines, _standing(new)]
    states = {stage.name: stage.state for stage in old.stages}
    for stage in new.stages:
        if stage.state != states[stage.name]:
            in_all = f" after {took(stage, after.now)}" if stage.finished_at is not None else ""
            lines.append(f"{stage.name} {stage.state}{in_all}{_because(stage)}")
    tables = {table.name: table.state for table in old.tables}
    lines += [_progress(table) for table in new.tables if table.state == "complete" != tables.get(table.name)]
    lines += [
        line
        for table in new.tables
        if table.state == "stopped" != tables.get(table.name)
        for line in stops(table)
    ]
    if new.state != old.state:
        lines.append(f"{new.migration} {new.state}")
    return lines


def _standing(first: Status) -> str:
    stages = [f"{stage.name} {stage.state}" for stage in first.stages if stage.state != "open"]
    return f"{first.migration} {first.state}: {', '.join(stages) or 'no stage begun'}"


def progress(before: View | None, after: View) -> list[str]:
    """Say, one line each, what has gone on since what was shown before; it may change at every look."""
    old, new = before.status if before is not None else None, after.status
    if new is None:
        return []
    details = {stage.name: stage.detail for stage in old.stages} if old is not None else {}
    lines = [
        f"{stage.name} {stage.state}{_because(stage)}"
        for stage in new.stages
        if stage.state in {"running", "waiting"} and stage.detail != details.get(stage.name)
    ]
    done = {table.name: table.rows_done for table in old.tables} if old is not None else {}
    lines += [
        _progress(table)
        for table in new.tables
        if table.state == "running" and table.rows_done != done.get(table.name, 0)
    ]
    was_built = old.building if old is not None else ()
    lines += [built(one) for one in new.building if one not in was_built]
    if new.held != (old.held if old is not None else None):
        lines.append(held_back(new, new.held) if new.held is not None else "no longer held")
    slowed, was = _slowed_by(new), _slowed_by(old)
    if slowed != was and new.held is None:
        lines.append(pace(new.governor) if new.governor and slowed else f"no longer slowed: {was}")
    known = {(one.part, one.sqlstate) for one in _lasting(before)}
    for waiting in _lasting(after):
        if (waiting.part, waiting.sqlstate) not in known:
            first, *more = waits(waiting, after.now)
            lines += [first, *(f"  {line}" for line in more)]
    if new.quarantine != (old.quarantine if old is not None else 0):
        lines.append(f"{counted(new.quarantine, 'row')} in quarantine")
    return lines


def _slowed_by(shown: Status | None) -> str | None:
    return shown.governor.slowed_by if shown is not None and shown.governor is not None else None


def _lasting(view: View | None) -> list[Waiting]:
    """The failures that have lasted for a while."""
    if view is None or view.status is None:
        return []
    return [one for one in view.status.waiting if (view.now - one.since).total_seconds() >= LASTS]


def _because(stage: StageStatus) -> str:
    return f": {stage.detail}" if stage.detail else ""


def _progress(table: TableStatus) -> str:
    parts = [rows(table), f"{share(table):.0%}", rate(table), eta(table)]
    return f"{table.name}: " + ", ".join(part for part in parts if part)
