"""The benchmark: medians, bars and verdicts, and that the bare loop sends the engine's own batches."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from sql.job import JobSpec, KeyColumn, Shape
from sql.postgres.batch import JobSQL
from sql.tenant_source import Expression, Lookup, TenantSource
from tests.benchmarks import __main__ as bench
from tests.benchmarks import comparisons, report
from tests.benchmarks.comparisons import BIG, SIZE, SPEED, WAL, Comparison
from tests.benchmarks.figures import Bar, Figure, Verdict, missed
from tests.benchmarks.measured import Cut, Run
from tests.benchmarks.report import Where
from tests.benchmarks.rounds import Round
from tests.benchmarks.tables import Tables
from tests.benchmarks.ways import fill, groups_of
from tests.filled_table import spec_of_items
from worker.paging import ranges

_WHERE = Where("18.6", {"shared_buffers": "256MB"}, 2, "Linux x86_64")


class _NoServer:
    """In place of a server: a round that has all its runs asks for no table."""


def _spec(source: TenantSource | None = None) -> JobSpec:
    return spec_of_items(
        table="big",
        key=(KeyColumn(name="id", type="text"),),
        paging="pages",
        stripes=4,
        source=source or Expression(expression="payload->>'org_id'"),
        named="big",
    )


def _run(seconds: float, *, wal: int = 100, after: int = 1_000, cut: Cut | None = None) -> Run:
    return Run(seconds, seconds + 3.0, wal, 1_000, after, 0.9, cut=cut)


def _rounds(*pairs: tuple[Run, Run]) -> list[Round]:
    """Rounds of the engine and of one UPDATE, as if they had been measured."""
    tables = Tables(_NoServer(), rows=1_000)  # type: ignore[arg-type]
    return [
        Round(
            tables,
            lambda _line: None,
            {("engine", "ordered"): ours, ("one UPDATE", "ordered"): theirs},
        )
        for ours, theirs in pairs
    ]


def _comparison(*bars: Bar) -> Comparison:
    return Comparison("update-ordered", "one UPDATE", "ordered", "one UPDATE", bars)


def _medians(comparison: Comparison, rounds: Sequence[Round]) -> list[float]:
    return [figure.median for figure in comparisons.figures(comparison, rounds)]


def test_a_figure_is_the_median_of_the_ratios_of_each_round() -> None:
    # The median of one side by that of the other would be 30 / 10.
    rounds = _rounds((_run(5), _run(10)), (_run(10), _run(40)), (_run(20), _run(30)))
    assert _medians(_comparison(Bar(SPEED)), rounds) == [2.0]


def test_wal_is_ours_to_theirs_and_the_size_is_our_own() -> None:
    rounds = _rounds((_run(1, wal=50, after=1_070), _run(1, wal=200, after=2_000)))
    assert _medians(_comparison(Bar(WAL), Bar(SIZE)), rounds) == [0.25, 1.07]


@pytest.mark.parametrize(
    ("bar", "value", "verdict"),
    [
        (Bar(SPEED, must=2.4, aim=3.0), 3.0, Verdict.AIMED),
        (Bar(SPEED, must=2.4, aim=3.0), 2.4, Verdict.REACHED),
        (Bar(SPEED, must=2.4, aim=3.0), 2.399, Verdict.MISSED),
        (Bar(WAL, must=0.65, at_most=True), 0.65, Verdict.AIMED),
        (Bar(WAL, must=0.65, at_most=True), 0.651, Verdict.MISSED),
        (Bar("seconds", must=1.0, aim=0.05, at_most=True), 0.06, Verdict.REACHED),
        (Bar(SPEED), 0.0, Verdict.SHOWN),
    ],
)
def test_a_figure_reaches_its_bar_at_the_bar_itself_and_is_not_rounded_over_it(
    bar: Bar, value: float, verdict: Verdict
) -> None:
    assert bar.verdict(value) is verdict


def test_one_missed_figure_among_many_is_a_miss_and_an_aim_that_is_not_reached_is_none() -> None:
    reached = Figure("a", "a", Bar(SPEED, must=1.0, aim=2.0), (1.5,))
    below = Figure("b", "b", Bar(SPEED, must=1.0), (0.9, 0.99, 1.2))
    assert not missed([reached])
    assert missed([reached, below])


def test_the_bars_are_those_that_were_promised() -> None:
    promised = {
        (comparison.name, bar.figure): (bar.must, bar.aim)
        for comparison in BIG
        for bar in comparison.bars
        if bar.must is not None
    }
    assert promised == {
        ("update-ordered", SPEED): (2.4, 3.0),
        ("update-ordered", WAL): (0.65, None),
        ("update-ordered", SIZE): (1.1, None),
        ("bare-loop", SPEED): (0.93, 0.98),
        ("workers", SPEED): (1.4, 1.7),
        ("trigger", SPEED): (3.0, 4.0),
        ("update-random", SPEED): (3.0, 3.5),
        ("update-random", WAL): (0.75, None),
    }


def test_every_comparison_can_be_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bench", *(word for name in bench.NAMES for word in ("--only", name))])
    apart = {"instant", "key-space", "governor", "governor-migration", "governor-standby", "governor-lock"}
    apart |= {"governor-autovacuum", "governor-rate", "estimate", "chain", "sources", "file"}
    assert set(bench._arguments().only) == {comparison.name for comparison in BIG} | apart


def test_a_way_of_paging_that_the_engine_chose_is_not_measured_twice() -> None:
    cut = Cut(_spec(), (), ())
    (round_,) = _rounds((_run(1, cut=cut), _run(2)))
    assert round_.run("pages", "ordered") is round_.run("engine", "ordered")


def test_the_json_holds_each_figure_with_its_rounds_and_each_run_without_its_ranges(tmp_path: Path) -> None:
    cut = Cut(_spec(), tuple(ranges("page", None, [["(8,0)"], ["(16,0)"]], 4)), (10,) * 8)
    rounds = _rounds((_run(5, cut=cut), _run(10)), (_run(5, cut=cut), _run(20)))
    figures = list(comparisons.figures(_comparison(Bar(SPEED, must=2.4)), rounds))
    report.write(tmp_path / "bench.json", figures, rounds, _WHERE, rows=1_000)
    written = json.loads((tmp_path / "bench.json").read_text())
    (figure,) = written["figures"]
    assert (figure["median"], figure["rounds"], figure["verdict"]) == (3.0, [2.0, 4.0], "aim reached")
    engine = [run for run in written["runs"] if run["way"] == "engine"]
    assert [(run["round"], run["seconds"], run["batches"]) for run in engine] == [(1, 5, 8), (2, 5, 8)]
    assert [way["rows_per_second"] for way in written["ways"]] == [200.0, 75.0]


@pytest.mark.parametrize("stripes", [1, 4])
def test_the_bare_loop_keeps_a_group_together_and_leaves_out_no_range(stripes: int) -> None:
    first = list(ranges("page", None, [["(8,0)"], ["(16,0)"]], stripes))
    second = list(ranges("page", ["(16,0)"], [["(24,0)"], ["(32,0)"]], stripes))
    groups = [list(group) for group in groups_of([*first, *second])]
    assert [range_ for group in groups for range_ in group] == [*first, *second]
    if stripes > 1:
        assert groups == [first, second]


@pytest.mark.parametrize(
    "source",
    [
        Expression(expression="payload->>'org_id'"),
        Lookup(lookup="org_tenants", on={"org_id": "org_id"}, column="tenant_id"),
    ],
)
@pytest.mark.parametrize(
    "shape", [Shape("page", lower=True, striped=True), Shape("key", lower=False, striped=False)]
)
def test_the_bare_loop_sends_the_engines_update_without_its_claim(source: TenantSource, shape: Shape) -> None:
    job_sql = JobSQL(_spec(source))
    engines = " ".join(job_sql.fill(shape).as_string().split())
    bare = " ".join(fill(job_sql, shape).as_string().split())
    assert bare in re.sub(r"\(SELECT (\S+) FROM claimed\)", r"\1", engines)
