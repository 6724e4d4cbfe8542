"""The full screen of `status --watch`: what is on it in which size, and that everybody can read it."""

import io
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console, Group
from rich.style import Style

from control.governed import GovernorStatus, SignalStatus
from control.status import STAGES, TableStatus
from control.watch.screen import Shown, screen
from control.watch.sight import Sight, WorkerStatus
from tests.unit.watched import BEGAN, HALFWAY, TABLE, WAITING, status_of
from worker.audit import Event
from worker.governor.limits import LABELS, SignalName
from worker.governor.zones import Zone
from worker.ledger import Holding, Settings

NOW = BEGAN + timedelta(seconds=84)
REASON = "replica lag in seconds: 2.1 (replica), limit 1.5"
DONE = TABLE.model_copy(update={"name": "organisations", "state": "complete", "rows_done": 900})


def _signal(signal: SignalName, value: float | None, limit: float, stop: float | None) -> SignalStatus:
    unreadable = "no right" if value is None else None
    return SignalStatus(
        signal=signal,
        label=LABELS[signal],
        value=value,
        detail=None,
        limit=limit,
        stop=stop,
        unreadable=unreadable,
    )


GOVERNOR = GovernorStatus(
    zone=Zone.HALVE,
    share=0.5,
    reason=REASON,
    sample_age_seconds=0.4,
    signals=(
        _signal("lag", 2.1, 1.5, 5.0),
        _signal("slot_bytes", 3 * 1024**3, 4 * 1024**3, 16 * 1024**3),
        _signal("waiting", 0, 2, 10),
        _signal("dead", 0.95, 0.7, 0.9),
        _signal("archive_files", None, 64, 256),
    ),
)
SETTINGS = Settings(target=0.05, synchronous_commit="on", throttle=True, limits={}, rows_per_second=15_000)
EVENTS = tuple(
    Event(at=BEGAN + timedelta(seconds=at), actor="ada@db", kind="tune", message=f"message {at}")
    for at in range(20)
)
WORKERS = (
    WorkerStatus("41@db", holding=Holding("41@db", "lag", BEGAN)),
    WorkerStatus("42@db", idle=0.0),
    WorkerStatus("43@db", idle=7.0),
)
STATUS = status_of(HALFWAY, DONE, TABLE, detail="batch 7").model_copy(
    update={"governor": GOVERNOR, "tuned": {"rows_per_second": 15_000}, "quarantine": 3}
)
SHOWN = Shown(Sight(STATUS, SETTINGS, EVENTS, WORKERS), NOW, "PostgreSQL graph at db:5432", said="paused")


def _with(*tables: TableStatus) -> Shown:
    return replace(
        SHOWN, sight=replace(SHOWN.sight, status=STATUS.model_copy(update={"tables": list(tables)}))
    )


def _lines(shown: Shown, width: int, height: int) -> list[str]:
    return [line.plain.rstrip() for line in screen(shown, width, height)]


def _drawn(shown: Shown, *, no_color: bool) -> str:
    out, environment = io.StringIO(), {"TERM": "xterm-256color"} | ({"NO_COLOR": "1"} if no_color else {})
    console = Console(file=out, force_terminal=True, width=80, height=24, _environ=environment)
    console.print(Group(*screen(shown, 80, 24)))
    return out.getvalue()


def test_at_80_by_24_every_part_of_a_migration_is_on_the_screen() -> None:
    drawn = "\n".join(lines := _lines(SHOWN, 80, 24))
    assert lines[0].startswith("m  ▶ running  1:24 ")
    assert lines[0].endswith(" PostgreSQL graph at db:5432  12:01:24 UTC")
    for named in (*STAGES, "graph_entities", "organisations", "workers: 3, 1 of them held"):
        assert named in drawn
    for named in ("12,346 rows/s in the last 10 s, at most 15,000 rows/s", "3 rows in quarantine"):
        assert named in drawn
    for named in ("pace 50% of full speed, halve, sampled 0.4 s ago", f"because of {REASON}"):
        assert named in drawn
    assert re.search(r"▲ lag +2.1s +1.5s +5s", drawn)
    assert "12:00:19  ada@db  tune  message 19" in drawn
    assert lines[-2:] == ["paused", " p  pause   r  resume   + -  pace   q  quit"]


def test_a_larger_terminal_shows_more() -> None:
    drawn = "\n".join(_lines(SHOWN, 200, 60))
    for named in ("PostgreSQL graph at db:5432", "tuned: rows_per_second 15000", "message 0", "batch 7"):
        assert named in drawn
    for named in ("41@db  held since 12:00:00: lag", "42@db  at work", "43@db  idle for 7.0 s"):
        assert named in drawn
    for signal in ("slot_bytes", "waiting", "dead", "archive_files"):
        assert signal in drawn


@given(
    st.integers(1, 250),
    st.integers(1, 80),
    st.lists(st.text(min_size=1, max_size=70), max_size=40),
    st.text(max_size=300),
)
def test_the_screen_is_as_high_as_the_terminal_and_no_line_wider(
    width: int, height: int, names: list[str], said: str
) -> None:
    shown = replace(_with(*(TABLE.model_copy(update={"name": name}) for name in names)), said=said, away=said)
    found = screen(shown, width, height)
    assert len(found) == height
    assert max(line.cell_len for line in found) <= width
    assert all(line.plain.isprintable() for line in found), "nothing that a terminal would obey"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60)])
def test_a_console_draws_the_screen_as_it_is_laid_out(width: int, height: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(Group(*screen(SHOWN, width, height)))
    assert [line.rstrip() for line in out.getvalue().split("\n")[:-1]] == _lines(SHOWN, width, height)


def test_tables_that_do_not_fit_are_counted_and_those_at_work_stay() -> None:
    tables = [DONE.model_copy(update={"name": f"t{number:02}"}) for number in range(50)]
    drawn = _lines(_with(*tables, TABLE), 80, 24)
    (heading,) = [line for line in drawn if line.startswith("─ tables")]
    shown = [line for line in drawn if line.startswith(("t", "graph_entities"))]
    assert shown[-1].startswith("graph_entities")
    assert heading.endswith(f" {51 - len(shown)} more tables ─")


def test_signals_that_do_not_fit_are_counted_and_the_nearest_to_their_limits_stay() -> None:
    tables = [DONE.model_copy(update={"name": f"t{number:02}"}) for number in range(50)]
    drawn = "\n".join(_lines(_with(*tables), 80, 24))
    assert "1 more signal ─" in drawn
    for signal in ("? archive_files", "▲ lag", "■ dead", "△ slot_bytes"):
        assert signal in drawn
    assert "waiting" not in drawn


def test_what_does_not_fit_at_all_is_named() -> None:
    assert _lines(SHOWN, 100, 12)[-1].endswith("too low for pace, signals, workers, last events")
    assert _lines(SHOWN, 60, 12)[-1].endswith(" 4 more parts")


def test_why_nothing_can_be_seen_is_told_whole() -> None:
    away = "■ as it was at 12:00:01: " + "PostgreSQL graph at db:5432: connection refused; " * 3
    drawn = " ".join(_lines(replace(SHOWN, away=away), 80, 24))
    assert away.strip() in drawn


def test_batches_that_wait_and_jobs_that_stopped_are_what_needs_a_look() -> None:
    stopped = TABLE.model_copy(update={"state": "stopped", "reason": "no"})
    status = STATUS.model_copy(update={"waiting": (WAITING,), "tables": [stopped], "held": "lag 7 s"})
    drawn = _lines(replace(SHOWN, sight=replace(SHOWN.sight, status=status)), 120, 40)
    at = drawn.index("─ what needs a look " + "─" * 100)
    assert drawn[at + 1].startswith("graph_entities: 3 batches wait for 1:24: 55P03")
    assert drawn[at + 2].strip().startswith("blocked by pid 7")
    assert drawn[at + 4].startswith("graph_entities stopped itself: no")
    assert "■ held: lag 7 s" in drawn


def test_a_statement_is_told_with_its_stage_its_lock_and_its_times() -> None:
    event = Event(
        at=BEGAN - timedelta(days=1),
        actor="ada@db",
        kind="statement",
        message="the guard",
        stage="columns",
        statement="CREATE TRIGGER",
        lock="SHARE ROW EXCLUSIVE",
        attempts=1,
        waited_ms=12.3,
        took_ms=4.0,
    )
    assert (
        "12-31 12:00:00  ada@db  columns  the guard (SHARE ROW EXCLUSIVE, waited 12 ms, took 4 ms)"
        in _lines(replace(SHOWN, sight=replace(SHOWN.sight, events=(event,))), 100, 40)
    )


@pytest.mark.parametrize(
    ("state", "title"),
    [("paused", "‖ paused"), ("cancelled", "✗ cancelled"), ("rolling back", "◀ rolling back")],
)
def test_a_migration_that_does_not_go_on_says_so_in_its_first_line(state: str, title: str) -> None:
    status = STATUS.model_copy(update={"state": state})
    assert title in _lines(replace(SHOWN, sight=replace(SHOWN.sight, status=status)), 80, 24)[0]


#: The colours of a line's text; not bold, faint, reverse, and their ends.
_COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


def test_with_no_color_there_is_no_colour() -> None:
    assert _COLOUR.search(_drawn(SHOWN, no_color=False))
    assert not _COLOUR.search(_drawn(SHOWN, no_color=True))


#: xterm's own.
_XTERM = {"red": (205, 0, 0), "magenta": (205, 0, 205), "bright_blue": (92, 92, 255)}


def test_every_colour_can_be_read_on_black_and_on_white() -> None:
    """At 3 to 1 and more, which is what WCAG asks for bold text and marks."""
    stopped = TABLE.model_copy(update={"state": "stopped", "reason": "no"})
    states = HALFWAY | {"indexes": "failed", "keys": "waiting"}
    status = status_of(states, TABLE, stopped, held="lag").model_copy(
        update={"governor": GOVERNOR, "waiting": (WAITING,), "quarantine": 3}
    )
    shown = replace(SHOWN, sight=replace(SHOWN.sight, status=status), away="away")
    styles = {str(span.style) for line in screen(shown, 200, 80) for span in line.spans} | {
        str(line.style) for line in screen(shown, 200, 80)
    }
    colours = {colour.name for style in styles if (colour := Style.parse(style).color) is not None}
    assert colours == set(_XTERM)
    for name in colours:
        light = _luminance(_XTERM[name])
        assert (light + 0.05) / 0.05 >= 3, name
        assert 1.05 / (light + 0.05) >= 3, name
        assert Color.parse(name).number is not None, "one of the sixteen"


def _luminance(colour: tuple[int, int, int]) -> float:
    linear = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
        for part in (number / 255 for number in colour)
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("width", "height"), [(20, 5), (30, 8), (40, 10)])
def test_in_the_smallest_terminal_the_stage_at_work_and_every_key_are_still_there(
    width: int, height: int
) -> None:
    lines = _lines(replace(SHOWN, said=""), width, height)
    assert any(line.startswith("▶ backfill") for line in lines)
    assert lines[-1].split()[:5] == ["p", "r", "+", "-", "q"]


def test_a_long_name_hides_neither_the_state_nor_how_long_it_has_taken() -> None:
    named = replace(SHOWN.sight, status=STATUS.model_copy(update={"migration": "m" * 100}))
    assert re.fullmatch(r"m+…  ▶ running  1:24", _lines(replace(SHOWN, sight=named), 80, 24)[0])


@pytest.mark.parametrize(
    "name", ["漢字テーブル", "e\u0301e\u0301", "\x1b]0;p\x07\x1b[2J", "a\tb\nc", "\u202egnp"]
)
def test_bars_stand_below_each_other_whatever_the_tables_are_called(name: str) -> None:
    shown = screen(_with(TABLE, TABLE.model_copy(update={"name": name})), 80, 30)
    bars = [line.plain for line in shown if "█" in line.plain]
    assert len({cell_len(bar.partition("█")[0]) for bar in bars}) == 1
    assert all(bar.endswith("ETA 1:15") for bar in (line.rstrip() for line in bars))


def test_of_a_message_in_wide_letters_nothing_is_lost_at_the_edge() -> None:
    message = "数据库系统正在关闭" * 4
    told = _lines(replace(SHOWN, said=message, away=None), 40, 24)[-3:-1]
    assert "".join(told) == message
