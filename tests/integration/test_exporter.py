"""What the exporter answers on a real server: the series of docs/metrics.md, as the database has them now."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from control import exporter
from control.conductor import controller
from control.embedded.postgres import EmbeddedPostgres
from control.exported import series
from control.exported.series import Series
from control.plan.reading import read_plan
from tests.integration.operating import Operator, complaint
from tests.integration.standby import standby
from tests.waiting import until

NAME = "multi-tenancy"


@contextmanager
def collecting(url: str) -> Iterator[exporter.StatusCollector]:
    """What reads for the scrapes of an exporter, for as long as the context lasts."""
    collector = exporter.StatusCollector(url, NAME)
    try:
        yield collector
    finally:
        collector.close()


def scraped(collector: exporter.StatusCollector) -> list[Metric]:
    """One answer."""
    registry = CollectorRegistry()
    registry.register(collector)
    return list(text_string_to_metric_families(generate_latest(registry).decode()))


def is_up(collector: exporter.StatusCollector) -> float:
    """What one answer says of the database."""
    (up,) = next(family for family in scraped(collector) if family.name == series.UP.name).samples
    return up.value


class Scrape:
    """One answer of the exporter's."""

    def __init__(self, operator: Operator, url: str | None = None) -> None:
        with collecting(url or operator.url) as collector:
            self.families = scraped(collector)
            self.unready = collector.unready()

    def of(self, one: Series, **labels: str) -> list[float]:
        """The values of a series' samples that have these labels."""
        return [
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == one.name and labels.items() <= sample.labels.items()
        ]


@pytest.fixture
def begun(operator: Operator) -> Operator:
    """A migration whose columns are there."""
    operator.run_to("columns")
    return operator


def test_every_series_of_the_list_is_exposed_and_no_other_with_its_labels(begun: Operator) -> None:
    scrape = Scrape(begun)
    exposed = {
        family.name + ("_total" if family.type == "counter" else ""): family for family in scrape.families
    }
    assert list(exposed) == [one.name for one in series.EVERY]
    for one in series.EVERY:
        family = exposed[one.name]
        assert (family.type, family.documentation) == (one.kind, one.documentation)
        assert all(set(sample.labels) == set(one.labels) for sample in family.samples)


def test_a_migration_that_has_not_begun_is_no_fault(operator: Operator) -> None:
    scrape = Scrape(operator)
    assert scrape.of(series.UP) == [1]
    assert scrape.of(series.MIGRATION_STATE) == []
    assert scrape.unready is None


def test_a_database_out_of_reach_is_said_and_nothing_else_is(begun: Operator) -> None:
    scrape = Scrape(begun, "postgresql://nobody@127.0.0.1:1/none")
    assert [(s.name, s.value) for f in scrape.families for s in f.samples] == [("tenantry_up", 0)]
    assert scrape.unready is not None


def test_stages_have_their_states_and_times(begun: Operator) -> None:
    before, scrape = time.time(), Scrape(begun)
    assert scrape.of(series.STAGE_STATE, stage="columns", state="done") == [1]
    assert scrape.of(series.STAGE_STATE, stage="backfill", state="open") == [1]
    (started,), (finished,) = (
        scrape.of(one, stage="columns") for one in (series.STAGE_STARTED, series.STAGE_FINISHED)
    )
    assert before - 600 < started <= finished <= before
    assert scrape.of(series.STAGE_STARTED, stage="backfill") == []


def test_a_closed_gate_is_closed_since_the_first_run_that_met_it(begun: Operator) -> None:
    begun.run_to("indexes", count=1)
    assert begun.tenantry("run").returncode == 3
    first = Scrape(begun)
    (since,) = first.of(series.GATE_CLOSED_SINCE, stage="application")
    (reason,) = (
        sample.labels["reason"]
        for family in first.families
        for sample in family.samples
        if sample.name == series.GATE_CLOSED.name
    )
    assert "tenantry confirm" not in reason
    assert reason
    assert begun.tenantry("run").returncode == 3
    assert Scrape(begun).of(series.GATE_CLOSED_SINCE, stage="application") == [since]
    begun.done("confirm", "application")
    begun.run_to("keys")
    assert Scrape(begun).of(series.GATE_CLOSED) == []


def test_an_operators_word_is_an_event_with_its_time(begun: Operator) -> None:
    assert Scrape(begun).of(series.EVENT, kind="pause") == []
    begun.done("pause")
    (paused,) = Scrape(begun).of(series.EVENT, kind="pause")
    assert 0 <= time.time() - paused < 60
    assert Scrape(begun).of(series.MIGRATION_STATE, state="paused") == [1]


def test_writes_that_needed_the_guard_are_counted_by_table(begun: Operator) -> None:
    assert Scrape(begun).of(series.GUARD_USES, table="graph_entities") == [0]
    with psycopg.connect(begun.url, autocommit=True) as shop:
        shop.execute("INSERT INTO graph_entities (id, entity_type) VALUES ('old code', 'person')")
    assert Scrape(begun).of(series.GUARD_USES, table="graph_entities") == [1]


def test_an_invalid_index_is_counted_until_it_is_gone(begun: Operator) -> None:
    with psycopg.connect(begun.url, autocommit=True) as shop:
        shop.execute("INSERT INTO graph_entities (id, entity_type) VALUES ('twice', 'x'), ('again', 'x')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            shop.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON graph_entities (entity_type)")
        found = Scrape(begun)
        assert found.of(series.INVALID_INDEXES, table="graph_entities") == [1]
        assert found.of(series.INVALID_INDEXES, table="graph_relations") == [0]
        shop.execute("DROP INDEX broken")
    assert Scrape(begun).of(series.INVALID_INDEXES, table="graph_entities") == [0]


@pytest.mark.parametrize(
    ("holder", "waiter", "side"),
    [("tenantry test", "shop", "application"), ("shop", "tenantry test", "tenantry")],
)
def test_a_wait_for_a_lock_is_told_by_who_waits(begun: Operator, holder: str, waiter: str, side: str) -> None:
    assert Scrape(begun).of(series.LOCK_WAIT) == [0, 0]
    with (
        psycopg.connect(begun.url, application_name=holder) as first,
        psycopg.connect(begun.url, application_name=waiter) as second,
    ):
        first.execute("LOCK TABLE graph_entities")
        thread = threading.Thread(target=second.execute, args=("LOCK TABLE graph_entities",))
        thread.start()
        try:
            until(lambda: Scrape(begun).of(series.LOCK_WAIT, side=side) > [0], "the wait")
            other = {"application": "tenantry", "tenantry": "application"}[side]
            assert Scrape(begun).of(series.LOCK_WAIT, side=other) == [0]
        finally:
            first.rollback()
            thread.join()


def test_what_was_foretold_of_wal_and_disk_is_shown_beside_what_is_used_up(begun: Operator) -> None:
    scrape = Scrape(begun)
    (wal,), (disk,) = scrape.of(series.WAL_BUDGET), scrape.of(series.DISK_BUDGET)
    assert wal > 0
    assert disk > 0
    with psycopg.connect(begun.url, autocommit=True) as shop:
        shop.execute("CREATE TABLE more AS SELECT g, repeat('x', 500) FROM generate_series(1, 20000) AS g")
    after = Scrape(begun)
    for one in (series.WAL_WRITTEN, series.DISK_GROWN):
        assert after.of(one)[0] - scrape.of(one)[0] > 10e6
    assert (after.of(series.WAL_BUDGET), after.of(series.DISK_BUDGET)) == ([wal], [disk])


def test_a_run_that_goes_on_has_the_migration_in_hand(begun: Operator) -> None:
    assert Scrape(begun).of(series.CONTROLLERS) == [0]
    with controller(read_plan(begun.plan)):
        assert Scrape(begun).of(series.CONTROLLERS) == [1]


OURS = "application_name = 'tenantry exporter' AND datname = current_database()"


def test_a_connection_that_the_server_has_closed_costs_no_scrape(begun: Operator) -> None:
    with collecting(begun.url) as collector, psycopg.connect(begun.url, autocommit=True) as server:
        assert is_up(collector) == 1
        server.execute(f"SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE {OURS}".encode())
        assert is_up(collector) == 1


def test_a_server_that_stops_answering_is_told_in_time_to_everybody_who_asks_and_then_left(
    begun: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_ANSWER_WITHIN", 0.5)
    with collecting(begun.url) as collector, psycopg.connect(begun.url, autocommit=True) as server:
        until(lambda: is_up(collector) == 1, "the first answer")
        ((frozen,),) = server.execute(f"SELECT pid FROM pg_stat_activity WHERE {OURS}".encode()).fetchall()
        os.kill(frozen, signal.SIGSTOP)
        try:
            found: list[float] = []
            asking = [threading.Thread(target=lambda: found.append(is_up(collector))) for _ in range(8)]
            for each in asking:
                each.start()
            for each in asking:
                each.join()
            assert found == [0] * 8
            until(lambda: is_up(collector) == 1, "an answer on another connection")
            assert server.execute(f"SELECT FROM pg_stat_activity WHERE {OURS}".encode()).rowcount == 2
        finally:
            os.kill(frozen, signal.SIGCONT)


def test_a_standby_is_sent_away_for_what_it_has_is_its_own(
    begun: Operator, postgres: EmbeddedPostgres
) -> None:
    with standby(postgres, "asked") as replica:
        url = replica.url.replace("/postgres?", f"/{psycopg.conninfo.conninfo_to_dict(begun.url)['dbname']}?")
        scrape = Scrape(begun, url)
    assert scrape.of(series.UP) == [0]
    assert "the primary's address" in str(scrape.unready)


def test_a_ledger_that_another_version_made_is_told_as_one(begun: Operator) -> None:
    with psycopg.connect(begun.url, autocommit=True) as other:
        other.execute("ALTER TABLE tenantry.stages DROP COLUMN closed_since")
    scrape = Scrape(begun)
    assert scrape.of(series.UP) == [0]
    for said in (str(scrape.unready), complaint(begun.tenantry("status").stderr)):
        assert "closed_since" in said
        assert "another version of tenantry" in said
