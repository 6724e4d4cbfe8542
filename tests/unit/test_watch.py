"""What an operator sees of a migration."""

import io
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from control.holds import Holds, Stopped, Waiting
from control.status import STAGES, PartStatus, Status, TableStatus
from control.watch.follow import SAY_EVERY, follow
from control.watch.lines import LASTS, changes, progress
from control.watch.render import render
from control.watch.view import View
from control.watch.words import duration, eta, held, rows, share
from tests.unit.watched import BEGAN, HALFWAY, SET_ASIDE, TABLE, WAITING, status_of


def _waiting(*waiting: Waiting, after: float) -> View:
    return _view(status_of(HALFWAY).model_copy(update={"waiting": waiting}), after=after)


def _view(status: Status | None, *, after: float = 10, notices: tuple[str, ...] = ()) -> View:
    return View(status, BEGAN + timedelta(seconds=after), notices=notices, said=len(notices))


def _drawn(view: View, *, width: int = 130) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(render(view))
    return out.getvalue()


def test_every_stage_is_drawn_in_order_with_the_time_it_took() -> None:
    drawn = _drawn(_view(status_of(HALFWAY)))
    assert [line.split()[1] for line in drawn.splitlines()[1:]] == list(STAGES)
    assert drawn.splitlines()[1].split() == ["✓", "preflight", "2.0", "s"]
    assert drawn.splitlines()[4].split() == ["▶", "backfill", "10", "s"]


def test_a_long_reason_to_wait_leaves_the_names_in_sight() -> None:
    drawn = _drawn(_view(status_of({"application": "waiting"}, detail="because " * 50)))
    assert [line.split()[1] for line in drawn.splitlines()[1:]] == list(STAGES)


def test_a_table_is_drawn_with_its_rows_its_speed_and_its_end() -> None:
    line = next(
        line for line in _drawn(_view(status_of(HALFWAY, TABLE))).splitlines() if "graph_entities" in line
    )
    assert line.split()[2:] == ["50,000", "of", "200,000", "12,346", "rows/s", "ETA", "1:15"]


def test_the_bar_of_a_table_is_as_long_as_its_share() -> None:
    line = next(
        line for line in _drawn(_view(status_of(HALFWAY, TABLE))).splitlines() if "graph_entities" in line
    )
    assert line.count("━") == 7


def test_in_a_narrow_terminal_the_bar_gives_way_and_the_figures_stay_whole() -> None:
    drawn = _drawn(_view(status_of(HALFWAY, TABLE)), width=80).splitlines()
    line = next(line for line in drawn if "graph_entities" in line)
    assert line.split()[2:] == ["50,000", "of", "200,000", "12,346", "rows/s", "ETA", "1:15"]


def test_the_reason_to_hold_is_drawn_as_it_is() -> None:
    assert "held: replica lag [7 s] past 5 s" in _drawn(
        _view(status_of(HALFWAY, held="replica lag [7 s] past 5 s"))
    )


def test_a_name_with_markup_is_drawn_as_it_is() -> None:
    assert "[red]x[/]" in _drawn(_view(status_of(HALFWAY, TABLE.model_copy(update={"name": "[red]x[/]"}))))


def test_before_the_ledger_knows_it_there_is_something_to_see() -> None:
    assert _drawn(_view(None)).strip() == "starting …"


@given(total=st.integers(0, 10**9) | st.none(), done=st.integers(0, 10**9))
def test_progress_is_never_past_the_whole(total: int | None, done: int) -> None:
    table = TableStatus(name="t", state="running", rows_total=total, rows_done=done)
    assert 0 <= share(table) <= 1


def test_a_complete_table_is_whole_whatever_the_estimate_was() -> None:
    table = TableStatus(name="t", state="complete", rows_total=300, rows_done=100, seconds=3, eta_seconds=9)
    assert (share(table), rows(table), eta(table)) == (1.0, "100 rows", "3.0 s")


def test_a_table_whose_default_answers_for_its_rows_has_nothing_to_fill() -> None:
    assert rows(TableStatus(name="t", state="complete", rows_total=300)) == "nothing to fill"


def test_durations_read_as_people_write_them() -> None:
    assert [duration(s) for s in (0.04, 9.94, 59.4, 59.9, 61, 3599.6, 3661)] == [
        *("0.0 s", "9.9 s", "59 s", "1:00", "1:01", "1:00:00", "1:01:01")
    ]


def test_nothing_is_said_when_nothing_changed() -> None:
    view = _view(status_of(HALFWAY, TABLE, held="lag"), notices=("waiting for a lock",))
    assert changes(view, view) == []
    assert progress(view, view) == []


def test_each_stage_that_began_or_ended_is_said_once() -> None:
    before = _view(status_of({"preflight": "done", "backup": "running"}))
    after = _view(status_of({"preflight": "done", "backup": "done", "columns": "waiting"}, detail="because"))
    assert changes(before, after) == ["backup done after 2.0 s: because", "columns waiting: because"]


def test_what_may_change_at_every_look_is_progress_and_no_change() -> None:
    before = _view(status_of(HALFWAY, TABLE))
    more = TABLE.model_copy(update={"rows_done": 100_000})
    after = _view(status_of(HALFWAY, more, held="lag 7 s", detail="batch 7"))
    assert changes(before, after) == []
    assert progress(before, after) == [
        "backfill running: batch 7",
        "graph_entities: 100,000 of 200,000, 50%, 12,346 rows/s, ETA 1:15",
        "held: lag 7 s",
    ]


def test_a_table_that_is_complete_is_said_once() -> None:
    complete = TABLE.model_copy(update={"state": "complete", "rows_done": 200_000, "seconds": 20})
    view = _view(status_of(HALFWAY, complete))
    assert changes(_view(status_of(HALFWAY, TABLE)), view) == [
        "graph_entities: 200,000 rows, 100%, 12,346 rows/s, 20 s"
    ]
    assert changes(view, view) == []


def _followed(views: list[View]) -> list[str]:
    """What is said of these views where there is no terminal, without the time of day."""
    out = io.StringIO()
    left = iter(views)
    ends = iter([False] * (len(views) - 1) + [True])
    follow(lambda: next(left), Console(file=out, width=40), lambda _seconds: next(ends))
    return [line[10:] for line in out.getvalue().splitlines()]


def test_without_a_terminal_progress_is_said_every_few_seconds_and_changes_at_once() -> None:
    def at(seconds: float, done: int, states: dict[str, str]) -> View:
        table = TABLE.model_copy(update={"rows_done": done, "eta_seconds": None})
        return _view(status_of(states, table), after=seconds)

    ended = HALFWAY | {"backfill": "done"}
    said = _followed(
        [at(0, 0, HALFWAY), at(1, 1, HALFWAY), at(2, 2, HALFWAY), at(SAY_EVERY, 3, HALFWAY), at(6, 4, ended)]
    )
    assert said[1:] == [
        "graph_entities: 3 of 200,000, 0%, 12,346 rows/s",
        "backfill done after 2.0 s",
        "graph_entities: 4 of 200,000, 0%, 12,346 rows/s",
    ]


def test_what_is_seen_at_the_end_is_shown() -> None:
    states = {"preflight": "done"}
    assert _followed([_view(status_of({})), _view(status_of(states))])[-1] == "preflight done after 2.0 s"


def test_a_migration_under_way_is_told_in_one_line_first() -> None:
    said = _followed([_view(status_of({"preflight": "done", "backup": "waiting"}))])
    assert said == ["m running: preflight done, backup waiting"]


def test_every_line_that_the_conductor_says_is_said_once_even_when_it_says_it_twice() -> None:
    views = [
        _view(None, notices=("a",)),
        _view(None, notices=("a", "b", "a")),
        _view(None, notices=("a", "b", "a")),
    ]
    assert _followed(views) == ["a", "b", "a"]


def test_a_terminal_shows_the_last_of_what_the_conductor_said() -> None:
    drawn = _drawn(_view(None, notices=tuple(f"line {n}" for n in range(9))))
    assert drawn.split("\n")[1:5] == ["line 5", "line 6", "line 7", "line 8"]


def test_a_terminal_is_left_with_what_is_seen_at_the_end() -> None:
    out = io.StringIO()
    views = iter([_view(None), _view(status_of(HALFWAY | {"backfill": "done"}))])
    ends = iter([False, True])
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    follow(lambda: next(views), console, lambda _seconds: next(ends))
    assert "✓ backfill" in out.getvalue().rpartition("backup")[2]


def test_a_long_line_without_a_terminal_stays_one_line() -> None:
    assert _followed([_view(None, notices=("x" * 300,))]) == ["x" * 300]


def test_a_table_is_drawn_with_its_paging_its_batch_size_and_its_heap_only_updates() -> None:
    part = PartStatus(name="p", state="complete")
    table = TABLE.model_copy(
        update={"paging": "pages", "batch_rows": 2_500, "heap_only_share": 0.934, "parts": (part, TABLE)}
    )
    assert (
        "graph_entities: pages, 2,500 rows a batch, 93% of the updates heap-only, 1 of 2 parts complete"
        in _drawn(_view(status_of(HALFWAY, table)))
    )


def test_batches_that_wait_are_drawn_with_the_reason_the_next_try_and_who_blocks_them() -> None:
    drawn = _drawn(_waiting(WAITING, after=10)).splitlines()
    at = drawn.index(
        "graph_entities: 3 batches wait for 10 s: 55P03 a lock was not free in time; next try in 2.0 s"
    )
    assert drawn[at + 1 : at + 3] == [
        "  blocked by pid 7 (web, shop, idle in transaction for 61.0 s: SELECT 1)",
        "  what other roles' sessions do is hidden from this one: GRANT pg_read_all_stats TO tenantry",
    ]


def test_batches_whose_time_has_come_are_drawn_as_due() -> None:
    assert "next try due" in _drawn(_waiting(WAITING, after=13))


def test_who_is_only_in_the_table_is_drawn_as_perhaps_in_the_way() -> None:
    blocking = WAITING.blocked_by[0].model_copy(update={"certain": False})
    assert "perhaps by pid 7" in _drawn(
        _waiting(WAITING.model_copy(update={"blocked_by": (blocking,)}), after=10)
    )


def test_a_failure_that_lasts_is_told_once_and_one_that_passes_is_not() -> None:
    brief, lasts, still = (_waiting(WAITING, after=seconds) for seconds in (LASTS / 2, LASTS, 2 * LASTS))
    assert progress(_waiting(after=0), brief) == []
    assert progress(brief, lasts)[0].startswith("graph_entities: 3 batches wait for 5.0 s: 55P03")
    assert progress(lasts, still) == []


def test_a_job_that_stopped_itself_is_told_with_its_reason_and_the_way_out() -> None:
    stopped = TABLE.model_copy(update={"state": "stopped", "reason": "30 of the last 50 batches failed: no"})
    line = (
        "graph_entities stopped itself: 30 of the last 50 batches failed: no; "
        "mend the cause, then `tenantry retry` and `tenantry run`"
    )
    view = _view(status_of(HALFWAY, stopped))
    assert changes(_view(status_of(HALFWAY, TABLE)), view) == [line]
    assert changes(view, view) == []
    assert line in _drawn(view)


def test_the_part_that_stopped_itself_is_named() -> None:
    part = PartStatus(name='"public"."p1"', state="stopped", reason="no")
    table = TABLE.model_copy(update={"state": "stopped", "parts": (part, TABLE)})
    assert 'graph_entities ("public"."p1") stopped itself: no' in _drawn(_view(status_of(HALFWAY, table)))


def test_what_is_held_is_told_row_by_row_with_what_to_do_next() -> None:
    stopped = Stopped(table="t", part='"public"."t"', parted=False, reason="no")
    holds = Holds(rows=(SET_ASIDE,), more=12_345, waiting=(WAITING,), stopped=(stopped,))
    assert list(held(holds, BEGAN + timedelta(seconds=10))) == [
        "graph_entities id=42, kind=a b: not this one [23514 check violation], since 2026-01-01 12:00:00",
        "and 12,345 more",
        "graph_entities: 3 batches wait for 10 s: 55P03 a lock was not free in time; next try in 2.0 s",
        "  blocked by pid 7 (web, shop, idle in transaction for 61.0 s: SELECT 1)",
        "  what other roles' sessions do is hidden from this one: GRANT pg_read_all_stats TO tenantry",
        "t stopped itself: no; mend the cause, then `tenantry retry` and `tenantry run`",
        "Mend the cause, then `tenantry retry` and `tenantry run`",
    ]


def test_a_part_is_named_where_its_table_has_several_and_an_error_stands_before_its_code() -> None:
    waiting = WAITING.model_copy(
        update={
            "part": "leaf",
            "parted": True,
            "error": "too bad",
            "batches": 1,
            "next_try_at": None,
            "blocked_by": (),
            "hidden": None,
        }
    )
    holds = Holds(rows=(), more=0, waiting=(waiting,), stopped=())
    assert list(held(holds, BEGAN + timedelta(seconds=10))) == [
        "graph_entities (leaf): 1 batch waits for 10 s: too bad [55P03 a lock was not free in time]",
        "They are tried again by themselves; `tenantry retry` lets them go at once",
    ]


def test_where_nothing_is_held_that_is_said() -> None:
    assert list(held(Holds(rows=(), more=0, waiting=(), stopped=()), BEGAN)) == ["nothing is held"]
