"""What a report says and what it is made of: text from the database stays text, and nothing is fetched."""

from html.parser import HTMLParser
from itertools import pairwise

import pytest

from control.report.page import bars, busy, figures, html, reasons, standing
from tests.reported import HOSTILE, account, after, held, pace, statement


class _Read(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_whatever_stands_in_the_database_is_text_in_the_page() -> None:
    plain, hostile = _Read(html(account(name="t"))), _Read(html(account(name=HOSTILE)))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    assert not {"script", "img"} & {tag for tag, _ in hostile.elements}
    assert HOSTILE in hostile.text


def test_a_page_asks_nobody_for_anything() -> None:
    page = html(account())
    read = _Read(page)
    assert not {"script", "iframe", "object", "embed", "form"} & {tag for tag, _ in read.elements}
    asked = [
        value for _, has in read.elements for key, value in has.items() if key in {"src", "href"} and value
    ]
    assert all(value.startswith(("#", "data:")) for value in asked)
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_headings_go_down_one_step_at_a_time_and_every_head_of_a_table_says_what_it_heads() -> None:
    read = _Read(html(account()))
    levels = [int(tag[1]) for tag, _ in read.elements if tag in {"h1", "h2", "h3"}]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    assert all(has.get("scope") in {"col", "row"} for tag, has in read.elements if tag == "th")
    ids = [has["id"] for _, has in read.elements if "id" in has]
    assert len(ids) == len(set(ids))
    named = [has["aria-labelledby"] for _, has in read.elements if "aria-labelledby" in has]
    assert {part for name in named for part in (name or "").split()} <= set(ids)
    drawn = [has for tag, has in read.elements if tag == "svg" and has.get("aria-hidden") != "true"]
    assert drawn
    assert all(has["role"] == "img" for has in drawn)


def test_one_that_is_not_finished_says_so_and_how_far_it_is() -> None:
    half = account(states={"backfill": "running"} | dict.fromkeys(("indexes", "application", "keys"), "open"))
    told = standing(half)
    assert told.startswith("Not finished: this is how it stood when the report was made.")
    assert "backfill is running, graph_entities 43% filled." in told
    assert told in _Read(html(half)).text
    assert standing(account()).startswith("Complete, 1:30 from its first stage to its last. 2 checks")


def test_a_false_check_is_said_at_the_top() -> None:
    good = account()
    bad = account(checks=[good.checks[0].model_copy(update={"ok": False}), good.checks[1]])
    assert "1 of 2 checks are false." in standing(bad)
    assert "✗ FALSE" in html(bad)


@pytest.mark.parametrize("state", ["open", "running"])
def test_checks_of_an_earlier_look_are_called_that(state: str) -> None:
    assert "of an earlier look" in html(account(states={"verify": state}))
    assert "of an earlier look" not in html(account())


def test_holds_at_the_same_time_count_once() -> None:
    both = account(holds=[held(0, 10), held(5, 20), held(30, 31)])
    (lag,) = reasons(both)
    assert (lag.reason, lag.times, lag.seconds, lag.longest) == ("replica lag in seconds", 3, 21.0, 15.0)


def test_a_hold_whose_end_is_not_on_record_is_open_to_now_only_while_its_worker_holds() -> None:
    assert "goes on" in html(account(holds=[held(30, None)], holding=["worker@host"]))
    assert "not on record" in html(account(holds=[held(30, None)], holding=[]))


def test_every_statement_is_there_with_its_lock_its_wait_and_its_time() -> None:
    text = " ".join(_Read(html(account())).text.split())
    assert text.count("ALTER TABLE graph_entities") == 3
    assert "ACCESS EXCLUSIVE 345 ms in 2 attempts 12 ms" in text
    assert "not known to have ended" in text
    assert "failed: graph_entities" in text


def test_the_longest_strong_lock_and_the_longest_wait_are_among_the_figures() -> None:
    found = {figure.name: figure.value for figure in figures(account())}
    assert (found["Longest strong lock"], found["Longest wait for a lock"]) == ("12 ms", "345 ms")
    assert found["WAL meanwhile"] == "43 MB"


def test_a_migration_that_has_done_nothing_yet_is_a_page_too() -> None:
    nothing = account(
        states=dict.fromkeys(("preflight", "backup", "columns", "backfill", "indexes"), "open")
        | dict.fromkeys(("application", "keys", "rls", "verify"), "open"),
        rates=[],
        paces=[],
        holds=[],
        events=[],
        checks=[],
    )
    text = _Read(html(nothing)).text
    assert all(bar.left is None for bar in bars(nothing))
    assert busy(nothing) is None
    for told in (
        "No batch has gone yet.",
        "No batch was ever held.",
        "Nothing is verified yet.",
        "None yet.",
    ):
        assert told in text


def test_a_signal_that_was_never_above_zero_is_said_and_not_drawn() -> None:
    quiet = account(paces=[pace(at, commit=0.0) for at in range(0, 50, 10)])
    assert "No signal of the application's latency was ever above zero." in _Read(html(quiet)).text
    assert after(0) == quiet.paces[0].at


def test_marks_that_turn_letters_round_and_controls_are_seen_and_not_obeyed() -> None:
    page = html(account(name="a\u202egnp\u2066\x1b[2J\x00"))
    assert not {"\u202e", "\u2066", "\x1b", "\x00"} & set(page)
    assert "a\\u202egnp\\u2066\\u001b[2J\\u0000" in page


def test_of_a_text_of_a_megabyte_the_page_has_the_beginning() -> None:
    long = "value " * 200_000
    page = html(account(events=[statement("t", error=long), statement(long)], checks=[]))
    assert len(page) < 200_000
    assert "… (1,200,000 characters in all)" in page


def test_a_backfill_that_goes_on_has_taken_so_much_so_far_and_one_whose_rows_are_empty_again_nothing() -> (
    None
):
    half = account(states={"backfill": "running"})
    assert "Backfill so far" in {figure.name for figure in figures(half)}
    assert "Backfill took" in {figure.name for figure in figures(account())}
    emptied = [half.tables[0].model_copy(update={"rows_done": 0})]
    kept = account(states={"backfill": "waiting"}, tables=emptied)
    assert not [figure.name for figure in figures(kept) if figure.name.startswith("Backfill")]


def test_the_parts_that_the_page_leads_to_are_there() -> None:
    read = _Read(html(account()))
    led = [has["href"] for tag, has in read.elements if tag == "a" and has.get("href", "")]
    assert {str(href).removeprefix("#") for href in led} <= {has.get("id") for _, has in read.elements}
    assert len(led) > 9
