"""The estimate that `check` gives, held against what the migration takes: time, WAL and disk."""

import os
import tempfile
from pathlib import Path

from control import conductor
from control.demo.show import plan_for
from control.preflight.estimate import Estimate, estimates
from control.rehearsal import run_timed
from control.timings import StageTiming
from sql.postgres.connection import connect
from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.tables import Tables

NAME = "estimate"
ENTITIES = 200_000
WORKERS = 2
#: Stages shorter than this are mostly the commits of a few statements; seconds.
_TOLD = 2.0


def measure(tables: Tables) -> list[Figure]:
    """Estimate, migrate, and say by what factor the one was from the other, whichever is the larger."""
    url = tables.graph(ENTITIES)
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder,
        Path(os.devnull).open("wb") as nowhere,
    ):
        plan = plan_for(url, Path(folder) / "graph.dump")
        with connect(url, "bench") as connection:
            told = estimates(conductor.survey(plan, connection, lambda _line: None))
        took = run_timed(plan, WORKERS, lambda _line: None, nowhere, confirmed={"application"})
    says = f"the estimate of a migration, {ENTITIES:,} entities and {2 * ENTITIES:,} relations"
    return [Figure(NAME, says, bar, (value,)) for bar, value in _figures(told, took).items()]


def _figures(told: list[Estimate], took: list[StageTiming]) -> dict[Bar, float]:
    by_stage = {timing.stage: timing for timing in took}
    values = {
        _within("time"): _factor(sum(t.seconds for t in told), sum(t.seconds for t in took)),
        _within("WAL"): _factor(sum(t.wal_bytes for t in told), sum(t.wal_bytes for t in took)),
        _within("disk"): _factor(sum(t.disk_bytes for t in told), sum(t.disk_bytes for t in took)),
    }
    for estimate in told:
        timing = by_stage[estimate.stage]
        if max(timing.seconds, estimate.seconds) >= _TOLD:
            values[_within(f"time of {estimate.stage}")] = _factor(estimate.seconds, timing.seconds)
        values[Bar(f"{estimate.stage}: seconds, estimated")] = estimate.seconds
        values[Bar(f"{estimate.stage}: seconds, taken")] = timing.seconds
        if max(timing.wal_bytes, estimate.wal_bytes) > 1e6:
            values[Bar(f"{estimate.stage}: MB of WAL, estimated")] = estimate.wal_bytes / 1e6
            values[Bar(f"{estimate.stage}: MB of WAL, written")] = timing.wal_bytes / 1e6
            values[Bar(f"{estimate.stage}: MB of disk, estimated")] = estimate.disk_bytes / 1e6
            values[Bar(f"{estimate.stage}: MB of disk, taken")] = timing.disk_bytes / 1e6
    return values


def _within(what: str) -> Bar:
    return Bar(f"{what}: factor between estimated and real", must=2.0, at_most=True)


def _factor(estimated: float, real: float) -> float:
    smaller, larger = sorted((estimated, real))
    return larger / smaller if smaller > 0 else float("inf")
