"""What is told of the pace: in the ledger, the status, the metrics and the log."""

import io
from datetime import UTC, datetime

import psycopg
import pytest
from rich.console import Console
from structlog.testing import capture_logs

from control import conductor, status
from control.embedded.valkey import EmbeddedValkey
from control.exported.beside import Beside
from control.exported.families import of
from control.watch.render import render
from control.watch.view import View
from tests.integration.backfilling import plan_of
from tests.integration.stationed import (
    BY_QUERY,
    GO,
    OPEN,
    grounded,
    namespaces,
    planned,
    station_of,
)
from tests.waiting import until
from worker import audit, ledger
from worker.governor import shared as shared_state
from worker.governor.limits import LABELS, Limit, Sample
from worker.governor.pace import STALE_AFTER, Go
from worker.governor.zones import Zone
from worker.slice import Station


def test_what_can_not_be_read_is_said_once_by_whoever_sees_it_first(
    sample: str, valkey: EmbeddedValkey
) -> None:
    governor = {"max_query": 5, "query": "SELECT 1 / 0"}
    with (
        grounded(sample, valkey, governor=governor) as (ground, session),
        station_of(sample, valkey, "a", f"blind {next(namespaces)}") as a,
        station_of(sample, valkey, "b", f"blind {next(namespaces)}") as b,
        capture_logs() as logs,
    ):
        first, last = planned(ground, session)
        middle = (first + last) // 2
        a.work(first, middle)
        b.work(middle + 1, last)
        said = [event for event in audit.events(session, ground.migration) if event.kind == "unreadable"]
        shown = status.read(session, ground.plan.name)
    assert [event.message for event in said] == [
        "the plan's own query: can't be read, it ends in DivisionByZero; it is not judged"
    ]
    assert [line["signal"] for line in logs if line["event"] == "a signal can't be read"] == ["query"]
    assert shown.governor is not None
    assert [(each.signal, each.unreadable) for each in shown.governor.unreadable] == [
        ("query", "it ends in DivisionByZero")
    ]
    view = Console(file=io.StringIO(), width=150)
    view.print(render(View(shown, datetime.now(UTC))))
    assert "can't be read: the plan's own query (it ends in DivisionByZero)" in view.file.getvalue()  # type: ignore[attr-defined]


def test_what_can_not_be_read_is_said_in_a_ledger_that_was_made_anew_too(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_state, "SAMPLE_EVERY", 0.01)
    governor = {"max_query": 5, "query": "SELECT 1 / 0"}
    with station_of(sample, valkey, "a", f"blind {next(namespaces)}") as a:
        for _ in range(2):
            with grounded(sample, valkey, governor=governor) as (ground, session):
                a.work(*planned(ground, session))
                said = [event.kind for event in audit.events(session, ground.migration)]
            assert said.count("unreadable") == 1
            connection.execute("DROP SCHEMA tenantry, tenantry_guard CASCADE")
            for table in ("graph_entities", "graph_relations"):
                connection.execute(f"ALTER TABLE {table} DROP COLUMN tenant_id".encode())


def test_the_log_tells_a_change_of_the_pace_and_not_each_sample(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_state, "SAMPLE_EVERY", 0.01)
    connection.execute(OPEN)
    connection.execute("UPDATE knob SET n = 5")
    settings = conductor.settings_of(plan_of(sample, governor=BY_QUERY), throttle=True).model_copy(
        update={"limits": {"query": Limit(max=5, stop=10)}}
    )
    with (
        grounded(sample, valkey),
        station_of(sample, valkey, "log", f"log {next(namespaces)}") as station,
        capture_logs() as logs,
    ):
        samples: set[float] = set()

        def sampled() -> bool:
            station.governor.ask(settings)
            if station.governor.taken is not None:
                samples.add(station.governor.taken.posted.at)
            return len(samples) > 5

        until(sampled, "some samples")
        connection.execute(GO)
        until(lambda: isinstance(station.governor.ask(settings), Go) and _calm(station), "calm again")
    zones = [line["zone"] for line in logs if line["event"] == "pace"]
    assert zones == ["halve", "shed", "keep", "grow"]


def _calm(station: Station) -> bool:
    return station.governor.taken is not None and station.governor.taken.posted.zone is Zone.GROW


def test_status_and_metrics_show_the_pace_and_every_signal_without_the_queue_server(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute(OPEN)
    connection.execute("UPDATE knob SET n = 7")
    with (
        grounded(sample, valkey, governor=BY_QUERY) as (ground, session),
        station_of(sample, valkey, "shown", f"shown {next(namespaces)}") as station,
    ):
        first, _ = planned(ground, session)
        station.work(first, first)
        shown = status.read(session, ground.plan.name)
    assert shown.governor is not None
    assert (shown.governor.zone, shown.governor.share) == (Zone.HALVE, 0.5)
    assert shown.governor.reason == "the plan's own query: 7, limit 5"
    assert {signal.signal for signal in shown.governor.signals} == set(LABELS)
    view = Console(file=io.StringIO(), width=150)
    view.print(render(View(shown, datetime.now(UTC))))
    told = view.file.getvalue()  # type: ignore[attr-defined]
    assert "pace 50% of full speed, halve, sampled" in told
    assert "ago: the plan's own query: 7, limit 5" in told
    series = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in of(shown, Beside({}, 0, {}, spent=None)).every()
        for sample in metric.samples
        if sample.name.startswith("tenantry_governor_")
    }
    name = ground.plan.name
    assert series["tenantry_governor_share", name] == 0.5
    assert series["tenantry_governor_zone", name, "halve"] == 1
    assert series["tenantry_governor_zone", name, "grow"] == 0
    assert series["tenantry_governor_signal", name, "query"] == 7
    assert series["tenantry_governor_limit", name, "query"] == 5
    assert series["tenantry_governor_stop", name, "query"] == 10
    assert series["tenantry_governor_limit", name, "lag"] == 1.5
    assert series["tenantry_governor_sample_age_seconds", name] >= 0


def test_lag_is_shown_as_the_governor_sees_it_and_not_at_all_once_its_sample_is_old(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with grounded(sample, valkey) as (ground, session):

        def lag() -> list[float]:
            shown = status.read(session, ground.plan.name)
            families = of(shown, Beside({}, 0, {}, spent=None))
            gauges = {metric.name: metric.samples for metric in families.every()}
            return [
                sample.value
                for name in ("tenantry_replica_lag_seconds", "tenantry_replica_lag_bytes")
                for sample in gauges[name]
            ]

        assert lag() == []
        seen = Sample(values={"lag": 3.5, "lag_bytes": 9e6})
        ledger.show_governor(session, ground.migration, zone="hold", share=0.0, reason="", sample=seen)
        assert lag() == [3.5, 9e6]
        connection.execute("UPDATE tenantry.governor SET at = at - make_interval(secs => %s)", [STALE_AFTER])
        assert lag() == []


def test_time_held_is_no_time_of_the_estimate(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with grounded(sample, valkey) as (ground, session):
        planned(ground, session)
        connection.execute(
            "UPDATE tenantry.batches SET state = 'done', rows = 100, finished_at = now() "
            "WHERE id IN (SELECT id FROM tenantry.batches ORDER BY id LIMIT 10)"
        )
        connection.execute(
            "UPDATE tenantry.jobs SET started_at = now() - interval '1 hour', held_seconds = 3500"
        )
        (table, _) = status.read(session, ground.plan.name).tables
    assert table.eta_seconds is not None
    assert table.eta_seconds < 150
