"""Others' VACUUM, and a way back from the middle: what the new table holds is right, or goes."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from control.sqlite.rebuild.pacing import Pace
from tests.integration.sqlite.keyed import MEMORY, World, graph, ways


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: of files by the dozen, each would wait for the disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


class _BrokenOffError(Exception):
    """What ends a run in a test."""


@pytest.fixture(autouse=True)
def online() -> Iterator[None]:
    """Every table takes the way beside writers, and its indexes go in entry by entry."""
    with ways(online=True):
        yield


def _until(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> list[str]:
    """Have `act` done after that batch of the keys; what the batches were for."""
    batch, done = Pace.batch, list[str]()

    def counted(pace: Pace, what: str, work: Callable[[int], int], **more: Any) -> int:
        rows = batch(pace, what, work, **more)
        done.append(what)
        if len(done) == number:
            act()
        return rows

    monkeypatch.setattr(Pace, "batch", counted)
    return done


def _end() -> None:
    raise _BrokenOffError


def _with_gaps(folder: Path) -> World:
    """The graph, with rowids that are not the numbers from 1 on."""
    there = graph(folder)
    with closing(sqlite3.connect(there.path)) as opened, opened:
        opened.execute("DELETE FROM relations WHERE rowid % 3 = 1")
    there.fill()
    return there


def test_a_way_that_is_broken_off_anywhere_has_a_way_back(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, broken_off = 0, True
    while broken_off:
        number += 1
        folder = memory / str(number)
        folder.mkdir()
        there = _with_gaps(folder)
        was = there.schema()
        with monkeypatch.context() as patched:
            _until(patched, number, _end)
            try:
                there.run("keys")
                broken_off = False
            except _BrokenOffError:
                pass
        there.rollback("application")
        assert there.schema() == was
        assert not there.ours()
        assert there.is_sound()
    assert number > 10


def test_vacuum_of_somebody_else_at_any_moment_is_nothing_to_the_rows(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, did = 0, [""]
    while number < len(did):  # every other moment
        number += 2
        folder = memory / str(number)
        folder.mkdir()
        there = _with_gaps(folder)
        rows = "SELECT rowid, * FROM relations ORDER BY rowid"
        were = there.ask(rows)

        def vacuum(there: World = there) -> None:
            with closing(there.connect()) as opened:
                opened.execute("VACUUM")

        with monkeypatch.context() as patched:
            did = _until(patched, number, vacuum)
            there.run("keys")
        assert there.ask(rows) == were
        assert there.is_sound()
        assert not there.ours()


def test_what_somebody_analyzes_at_any_moment_of_the_way_back_is_not_left_behind(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, did = 0, [""]
    while number < len(did):  # every other moment
        number += 2
        folder = memory / str(number)
        folder.mkdir()
        there = _with_gaps(folder)
        there.run("keys")
        there.ask("ANALYZE")

        def analyze(there: World = there) -> None:
            with closing(there.connect()) as opened:
                opened.execute("ANALYZE")

        with monkeypatch.context() as patched:
            did = _until(patched, number, analyze)
            there.rollback()
        assert not there.ask("SELECT tbl FROM sqlite_stat1 WHERE tbl GLOB 'tenantry_*'")
        assert there.is_sound()
