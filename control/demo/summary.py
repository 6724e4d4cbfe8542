"""What a demo tells at its end: times, rows, WAL, growth, the application, and every check."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from control.demo.journal import JournalResult
from control.demo.messages import Report
from control.report.account import Account
from control.watch.words import duration


@dataclass(frozen=True, slots=True)
class Told:
    """Everything that the summary is made of.

    `growth` has the size before and after of each table with its indexes, in bytes, where the database tells
    them apart; `notes` are lines about what else was measured.
    """

    account: Account
    growth: dict[str, tuple[int, int]]
    notes: tuple[str, ...]
    application: Report
    journal: JournalResult

    @property
    def ok(self) -> bool:
        """No error of the application, every verification and every check of its journal true."""
        checks = self.account.checks
        return (
            self.application.errors == 0
            and self.journal.ok
            and bool(checks)
            and all(check.ok is not False for check in checks)
        )


def line(report: Report | None) -> str | None:
    """The application's latency while it works, for the display."""
    if report is None:
        return None
    return (
        f"application ({report.code} code): {report.per_second:.0f} operations/s, "
        f"p99 {report.p99_ms:.1f} ms, longest {report.worst_ms:.0f} ms, {report.errors} errors"
    )


def say(told: Told, console: Console) -> None:
    """Print the summary."""
    console.print(_stages(told))
    console.print(_tables(told))
    for text in _application(told):
        console.print(text)
    console.print(_checks(told))
    verdict = "every check holds" if told.ok else "NOT EVERYTHING HOLDS"
    console.print(Text(verdict, style="bold green" if told.ok else "bold red"))


def _stages(told: Told) -> Table:
    table = Table("stage", "time", title="Stages", title_justify="left", box=None)
    for stage in told.account.status.stages:
        if stage.started_at is not None and stage.finished_at is not None:
            table.add_row(stage.name, duration((stage.finished_at - stage.started_at).total_seconds()))
    whole = told.account.status
    if whole.finished_at is not None:
        table.add_row("all", duration((whole.finished_at - whole.started_at).total_seconds()))
    return table


def _tables(told: Told) -> Table:
    heap_only = any(filled.heap_only_share is not None for filled in told.account.status.tables)
    table = Table(
        *("table", "rows filled", "rows/s"),
        *(("heap-only",) if heap_only else ()),
        *(("size before", "after", "growth") if told.growth else ()),
        title="Backfill",
        title_justify="left",
        box=None,
    )
    for filled in told.account.status.tables:
        cells = [filled.name, f"{filled.rows_done:,}", f"{filled.rows_per_second:,.0f}"]
        if heap_only:
            cells.append("-" if filled.heap_only_share is None else f"{filled.heap_only_share:.0%}")
        if told.growth:
            cells += grown(*told.growth[filled.name])
        table.add_row(*cells)
    return table


def grown(before: int, after: int) -> tuple[str, str, str]:
    """Two sizes in bytes and the growth between them, as they are shown."""
    return megabytes(before), megabytes(after), f"{after / before - 1:+.0%}"


def _application(told: Told) -> Iterator[str]:
    report = told.application
    yield from told.notes
    yield (
        f"application: {report.operations:,} operations on {report.connections} connections "
        f"({report.operations / report.seconds:.0f}/s), {report.errors} errors, "
        f"{report.two_key_retries} retried in the two-key window, longest stall {report.worst_ms:.0f} ms"
    )
    if report.last_error is not None:
        yield f"last error: {report.last_error.sqlstate} {report.last_error.message}"


def _checks(told: Told) -> Table:
    table = Table("", "check", "evidence", title="Verification", title_justify="left", box=None)
    for check in told.account.checks:
        table.add_row(_mark(ok=check.ok), check.name, check.evidence)
    for kept in told.journal.checks:
        table.add_row(_mark(ok=kept.ok), f"journal: {kept.name}", kept.evidence)
    return table


def _mark(*, ok: bool | None) -> Text:
    if ok is None:
        return Text("·", style="dim")
    return Text("✓", style="green") if ok else Text("✗", style="bold red")


def megabytes(size: int) -> str:
    """Bytes as they are shown."""
    return f"{size / 1_048_576:,.0f} MB"
