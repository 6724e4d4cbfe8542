"""Draws an account as one HTML file, which asks nobody for anything: no script, no font, no address."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from control.report import charts
from control.report.account import Account, Checked, Migrated, Stage
from control.report.charts import Chart, Span
from control.verification.check import listed
from control.watch.words import counted, duration, held_back, rate, rows, share, stop
from worker.chronicle import Held
from worker.governor.limits import Sample, SignalName

#: Of what is told one by one, so many at most: a browser draws some thousand rows at once, not a million.
_MOST = 500
#: Characters of one text out of the database.
_LONGEST = 10_000
#: Controls, and what turns the direction of letters.
_UNSEEN = {
    code: f"\\u{code:04x}"
    for code in (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if code != 13
}
#: Stronger than this a lock holds up somebody's reads or writes.
_WEAK = frozenset({"none", "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"})
_SIZES = ("bytes", "kB", "MB", "GB", "TB")
#: The signals that tell how the application fares, in the order in which they are drawn.
_OF_APPLICATION: tuple[SignalName, ...] = ("commit", "lag", "waited")


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the figures at the top."""

    name: str
    value: str
    told: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A stage in the timeline: from the left, and how wide; None where it hasn't begun."""

    stage: Stage
    left: float | None
    width: float


@dataclass(frozen=True, slots=True)
class Reason:
    """All holds of one reason; seconds of several workers at once count once."""

    reason: str
    times: int
    seconds: float
    longest: float


def html(account: Account) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("control.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "moment": moment,
        "seconds": lambda value: "" if value is None else duration(value),
        "milliseconds": milliseconds,
        "bytes": size,
        "words": tenant_of,
        "growth": grown,
        "took": took,
        "brief": brief,
    }
    environment.globals |= {"rows_of": rows, "rate_of": rate, "share_of": share, "counted": counted}
    return environment.get_template("page.html").render(
        account=account,
        standing=standing(account),
        figures=list(figures(account)),
        bars=bars(account),
        charts=drawn(account),
        reasons=reasons(account),
        holds=account.holds[-_MOST:],
        slowed=slowed(account),
        stopped=[stop(one.where, one.reason) for one in account.held.stopped],
        told=[event for event in account.events if event.statement is None],
        stale=stale(account),
        verdict=verdict(account.checks),
        queries={check.query: check.sql for check in account.checks},
        title=f"{account.status.migration}: report of a migration",
    )


def standing(account: Account) -> str:
    """One sentence of how the migration stands."""
    shown = account.status
    if account.finished:
        ended = shown.finished_at or account.made_at
        took = duration((ended - shown.started_at).total_seconds())
        return f"Complete, {took} from its first stage to its last. {verdict(account.checks)}"
    at = next((stage for stage in account.stages if stage.state not in {"done", "open"}), None)
    told = [f"Not finished: this is how it stood when the report was made. The migration is {shown.state}"]
    if at is None:
        after = next((stage.name for stage in account.stages if stage.state == "open"), None)
        told.append(f"; its next stage, {after}, has not begun" if after else "")
    else:
        told.append(f"; {at.name} is {at.state}")
    filling = [table for table in account.tables if table.state == "running"]
    if filling:
        told.append(f", {listed([f'{table.name} {share(table):.0%} filled' for table in filling])}")
    told.append(".")
    if shown.held is not None:
        told.append(f" {held_back(shown, shown.held).capitalize()}.")
    return "".join(told)


def verdict(checks: Sequence[Checked]) -> str:
    """What came of the verification, in a sentence."""
    if not checks:
        return "Nothing is verified yet."
    false = [check for check in checks if check.ok is False]
    if false:
        return f"{len(false)} of {counted(len(checks), 'check')} are false."
    told = sum(check.ok is None for check in checks)
    more = f", {told} of them only told" if told else ""
    return f"{counted(len(checks), 'check')}{more}: none is false."


def stale(account: Account) -> bool:
    """Whether what was verified is of an earlier look, for the stage is open again."""
    return bool(account.checks) and any(
        stage.name == "verify" and stage.state in {"open", "running"} for stage in account.stages
    )


def figures(account: Account) -> Iterator[Figure]:
    """What somebody wants to know who reads no further."""
    done = sum(table.rows_done for table in account.tables)
    backfill = next((stage for stage in account.stages if stage.name == "backfill"), None)
    yield Figure("Rows filled", f"{done:,}", f"in {counted(len(account.tables), 'table')}")
    if backfill is not None and backfill.started_at is not None and (done or backfill.state == "running"):
        name = "Backfill so far" if backfill.finished_at is None else "Backfill took"
        yield Figure(name, duration(_seconds(backfill, account.made_at)))
    ran = [event for event in account.statements if event.took_ms is not None]
    strong = [event for event in ran if event.lock not in _WEAK]
    if strong:
        worst = max(strong, key=lambda event: event.took_ms or 0.0)
        yield Figure("Longest strong lock", milliseconds(worst.took_ms), f"{worst.lock}: {worst.message}")
    if ran:
        worst = max(ran, key=lambda event: event.waited_ms or 0.0)
        yield Figure("Longest wait for a lock", milliseconds(worst.waited_ms), worst.message)
    held = sum(reason.seconds for reason in reasons(account))
    yield Figure("Batches held", duration(held) if held else "never", counted(len(account.holds), "hold"))
    costs = [stage.cost for stage in account.stages if stage.cost is not None]
    wal = [cost.wal_bytes for cost in costs if cost.wal_bytes is not None]
    if wal:
        yield Figure("WAL meanwhile", size(sum(wal)), "the application's is in it")
    if costs:
        grew = sum(cost.disk_bytes for cost in costs)
        of = "the file" if account.server.kind == "SQLite" else "the database"
        yield Figure("Disk", f"{'+' if grew >= 0 else '-'}{size(abs(grew))}", f"{of}, during the stages")
    yield Figure("In quarantine", counted(account.status.quarantine, "row"))


def bars(account: Account) -> list[Bar]:
    """Every stage in its place in time."""
    begun = [stage.started_at for stage in account.stages if stage.started_at is not None]
    if not begun:
        return [Bar(stage, None, 0.0) for stage in account.stages]
    ended = account.status.finished_at if account.finished else None
    last = [stage.finished_at for stage in account.stages if stage.finished_at is not None]
    span = Span(min(begun), ended or max([*last, *begun, *([] if account.finished else [account.made_at])]))
    found: list[Bar] = []
    for stage in account.stages:
        if stage.started_at is None:
            found.append(Bar(stage, None, 0.0))
            continue
        left, right = span.at(stage.started_at), span.at(stage.finished_at or span.ended)
        found.append(Bar(stage, min(left, charts.SIDE - 6), max(right - left, 6)))
    return found


def drawn(account: Account) -> list[Chart]:
    """What there is to draw over time, all over the same time."""
    span = busy(account)
    if span is None:
        return []
    held = charts.bands(account.holds, span)
    found = [charts.rows(account.rates, span, held), charts.share(account.paces, span, held)]
    sampled = Sample(on_file=account.server.kind == "SQLite")
    for name in _OF_APPLICATION:
        label = sampled.label(name)
        found.append(charts.signal(name, label[0].upper() + label[1:], account.paces, span, held))
    if account.server.kind == "SQLite":
        # While a batch of ours has the write lock, the application's writers wait.
        title = "Seconds that a batch of ours has the write lock"
        found.append(charts.signal("batch", title, account.paces, span, held))
    found.append(charts.query(account.paces, span, held))
    return [chart for chart in found if chart is not None]


def busy(account: Account) -> Span | None:
    """The time in which batches went or were held."""
    began = [
        *(one.at for one in account.rates),
        *(one.at for one in account.paces),
        *(one.since for one in account.holds),
    ]
    if not began:
        return None
    ended = [
        *(one.at + timedelta(seconds=one.seconds) for one in account.rates),
        *(one.at + timedelta(seconds=10) for one in account.paces),
        *(one.until or account.made_at for one in account.holds),
    ]
    return Span(min(began), min(max(ended), max(account.made_at, min(began) + timedelta(seconds=1))))


def reasons(account: Account) -> list[Reason]:
    """The holds by what they were for, the longest first."""
    of: defaultdict[str, list[Held]] = defaultdict(list)
    for held in account.holds:
        of[held.reason.partition(":")[0]].append(held)
    found = [
        Reason(
            reason,
            len(holds),
            _covered(holds, account.made_at),
            max(((one.until or account.made_at) - one.since).total_seconds() for one in holds),
        )
        for reason, holds in of.items()
    ]
    return sorted(found, key=lambda one: -one.seconds)


def _covered(holds: Iterable[Held], now: datetime) -> float:
    """Seconds in which at least one of them was."""
    seconds, reached = 0.0, None
    for held in sorted(holds, key=lambda one: one.since):
        until = held.until or now
        since = held.since if reached is None else max(held.since, reached)
        if until > since:
            seconds += (until - since).total_seconds()
        reached = until if reached is None else max(reached, until)
    return seconds


def slowed(account: Account) -> list[tuple[str, float]]:
    """By what signals the pace was slowed, and the share of the sampled time, the most first."""
    found: defaultdict[str, int] = defaultdict(int)
    for pace in account.paces:
        if pace.slowed_by:
            found[pace.slowed_by] += 1
    shares = {name: count / len(account.paces) for name, count in found.items()}
    return sorted(shares.items(), key=lambda one: -one[1])


def tenant_of(source: Mapping[str, Any]) -> str:
    """A table's source of its tenant, as people read it."""
    parts = [
        f"{key} {', '.join(f'{a} = {b}' for a, b in value.items())}"
        if isinstance(value, dict) and key == "on"
        else f"{key} ({tenant_of(value)})"
        if isinstance(value, dict)
        else f"{key} {value}"
        for key, value in source.items()
    ]
    return ", ".join(parts)


def brief(text: object) -> str:
    """A text of which a page has the beginning: a server's message may quote a value of a megabyte."""
    whole = str(text)
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]} … ({len(whole):,} characters in all)"


def _seen(value: object) -> object:
    """A text with the names of marks that would be obeyed unseen, as those that turn letters round."""
    return value.translate(_UNSEEN) if isinstance(value, str) and not isinstance(value, Markup) else value


def moment(at: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def milliseconds(value: float | None) -> str:
    """Milliseconds as people read them."""
    if value is None:
        return ""
    return f"{value:,.0f} ms" if value < 10_000 else duration(value / 1000)


def size(value: int | None) -> str:
    """Bytes as people read them, in powers of 1024."""
    if value is None:
        return ""
    amount = float(value)
    for unit in _SIZES:
        if round(abs(amount)) < 1024 or unit == _SIZES[-1]:
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == "bytes" or abs(amount) >= 10 else f"{amount:.1f} {unit}"


def grown(table: Migrated) -> str:
    """By how much a table grew, where both sizes are known."""
    if not table.bytes_before or table.bytes_now is None:
        return ""
    return f"{table.bytes_now / table.bytes_before - 1:+.0%}"


def took(stage: Stage) -> str:
    """How long a stage took that has ended."""
    return "" if stage.finished_at is None else duration(_seconds(stage, stage.finished_at))


def _seconds(stage: Stage, now: datetime) -> float:
    if stage.started_at is None:
        return 0.0
    return ((stage.finished_at or now) - stage.started_at).total_seconds()
