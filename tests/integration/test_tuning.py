"""Tuning a run under way: it reaches workers and the pool, survives restarts, and is in the audit."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from control import steering
from control.course import actor
from control.embedded.valkey import EmbeddedValkey
from control.resizing import resized
from control.stages import backfill
from sql.postgres.connection import connect
from tests.integration.backfilling import Backfilling, backfilling, count_updates, plan_of
from tests.integration.operating import Operator
from tests.waiting import until
from worker import ledger

#: Makes a batch of a hundred rows last a fifth of a second: a backfill of half a minute.
_SLOW = 0.002


@contextmanager
def _slowly(sample: str, connection: psycopg.Connection, queue: str, count: int) -> Iterator[Backfilling]:
    count_updates(connection, seconds_per_row=_SLOW)
    with backfilling(plan_of(sample), queue, count) as running:
        running.reach("graph_entities", 0.05)
        yield running
        connection.execute("DROP TRIGGER see_update ON graph_entities")
        connection.execute("DROP TRIGGER see_update ON graph_relations")
        running.end()


def _workers(connection: psycopg.Connection) -> set[str]:
    return {
        name
        for (name,) in connection.execute(
            "SELECT application_name FROM pg_stat_activity "
            "WHERE application_name LIKE 'tenantry worker %' AND datname = current_database()"
        )
    }


def _have_worked(connection: psycopg.Connection, seen: set[str]) -> int:
    """How many workers have been seen at a batch, with those that are at one now."""
    seen.update(
        name
        for (name,) in connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'tenantry worker %' "
            "AND datname = current_database() AND state = 'active' AND query LIKE '%batch.fill%'"
        )
    )
    return len(seen)


def test_a_limit_reaches_running_workers_at_their_next_batch(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    plan = plan_of(sample)
    with _slowly(sample, connection, valkey.url, 1), connect(sample, "tune") as other:
        # A query of the operator's own that is past its stop: nothing but it can hold the run.
        steering.tune(plan, other, {"query": "SELECT 7", "stop_query": "5"})
        batches = "SELECT max(id) FROM tenantry.batches WHERE state = 'done'"
        migration = ledger.read(other, plan.name).id
        (held,) = until(lambda: ledger.holding(other, migration), "the worker to hold")
        assert "7" in held.reason
        before = connection.execute(batches).fetchone()
        steering.tune(plan, other, {"query": "", "stop_query": ""})
        until(lambda: connection.execute(batches).fetchone() != before, "batches to go on")


def test_the_controller_cuts_batches_to_the_target_that_is_tuned(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "WINDOW", 4)
    monkeypatch.setattr(backfill, "MOST", 5)
    # Without the tuning every batch misses its target of 1 ms by far, and stays at the smallest size.
    plan = plan_of(sample, backfill={"first_batch": 100, "paging": "contiguous", "target": "1ms"})
    count_updates(connection, seconds_per_row=0.001)
    with backfilling(plan, valkey.url, 1) as running, connect(sample, "tune") as other:
        running.reach("graph_entities", 0.01)
        steering.tune(plan, other, {"target": "10s"})
        running.end()
    largest = connection.execute("SELECT max(batch_rows) FROM tenantry.jobs").fetchone()
    assert largest is not None
    assert largest[0] > 100


def test_a_pool_grows_and_shrinks_while_it_works_and_no_batch_is_lost_or_done_twice(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    plan = plan_of(sample)
    with (
        _slowly(sample, connection, valkey.url, 1) as running,
        resized(running.pool, sample, plan.name, otherwise=1),
        connect(sample, "tune") as other,
    ):
        steering.tune(plan, other, {"workers": "3"})
        until(lambda: len(_workers(connection)) == 3, "three workers")
        steering.tune(plan, other, {"workers": "0"})
        until(lambda: not _workers(connection), "no worker")
        ended = "SELECT count(*) FROM tenantry.batches WHERE attempts > 0"
        assert connection.execute(ended).fetchone() == (0,), "each finished the batch at hand"
        steering.tune(plan, other, {"workers": ""})
        until(lambda: len(_workers(connection)) == 1, "the one that it was started with")
    twice = (
        "SELECT count(*) FROM (SELECT FROM updates_seen GROUP BY of_table, id HAVING count(*) > 1) AS seen"
    )
    assert connection.execute(twice).fetchone() == (0,)


def test_a_worker_that_is_killed_in_a_resized_pool_is_started_again(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with _slowly(sample, connection, valkey.url, 1) as running:
        running.pool.resize(2)
        # Each at work: dramatiq's own process may wait for ever for a child that is killed while it starts.
        before: set[str] = set()
        until(lambda: _have_worked(connection, before) == 2, "two workers at their batches")
        for name in before:
            os.kill(int(name.split()[2].partition("@")[0]), signal.SIGKILL)
        until(lambda: len(_workers(connection) - before) == 2, "two others")


def test_a_pool_stays_as_it_is_while_the_database_is_away(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    plan = plan_of(sample)
    with (
        _slowly(sample, connection, valkey.url, 1) as running,
        resized(running.pool, sample, plan.name, otherwise=1),
        connect(sample, "tune") as other,
    ):
        ours = (
            "SELECT pid FROM pg_stat_activity "
            "WHERE application_name = 'tenantry pool' AND datname = current_database()"
        )
        first = until(lambda: connection.execute(ours).fetchone(), "the one that looks")
        connection.execute("SELECT pg_terminate_backend(%s)", first)
        until(lambda: connection.execute(ours).fetchone() not in {None, first}, "it to look again")
        assert running.pool.statuses() == [None]
        steering.tune(plan, other, {"workers": "2"})
        until(lambda: len(_workers(connection)) == 2, "two workers")


def test_what_is_tuned_survives_the_next_run_is_shown_and_is_in_the_audit(operator: Operator) -> None:
    operator.run_to("columns")
    said = operator.done("tune", "max_lag=3s", "rows_per_second=20000", "workers=1")
    assert said.splitlines() == ["max_lag: 3s", "rows_per_second: 20000", "workers: 1"]
    operator.done("tune", "rows_per_second=")
    operator.run_to("backfill", count=1)
    tuned = {"max_lag": "3s", "workers": 1}
    status = json.loads(operator.done("status", "--json"))
    assert status["tuned"] == tuned
    assert "tuned: max_lag 3s, workers 1" in operator.done("status")
    shown = json.loads(operator.done("tune", "--json"))
    assert shown["tuned"] == tuned
    assert (shown["in_force"]["limits"]["lag"]["max"], shown["in_force"]["workers"]) == (3.0, 1)
    assert "tuned; the plan says 1500ms" in operator.done("tune")
    events = json.loads(operator.done("events", "--json"))
    told = [event["message"] for event in events if event["kind"] == "tune"]
    assert told == [
        "max_lag from 1500ms (the plan's) to 3s",
        "rows_per_second from none (the plan's) to 20000",
        "workers from as it was started (the plan's) to 1",
        "rows_per_second from 20000 to none (the plan's)",
    ]
    assert {event["actor"] for event in events if event["kind"] == "tune"} == {actor()}


def test_a_run_takes_as_many_workers_as_are_tuned(operator: Operator) -> None:
    operator.run_to("columns")
    operator.done("tune", "workers=3")
    with (
        psycopg.connect(operator.url) as application,
        psycopg.connect(operator.url, autocommit=True) as look,
    ):
        # With this row the backfill can't end meanwhile.
        application.execute("SELECT FROM graph_relations ORDER BY id DESC LIMIT 1 FOR UPDATE")
        with operator.started("run", "--to", "backfill", "--workers", "1") as run:
            until(lambda: len(_workers(look)) == 3, "three workers")
            operator.done("tune", "workers=1")
            until(lambda: len(_workers(look)) == 1, "one worker")
            application.rollback()
            assert run.wait(60) == 0


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("max_lagg=3s", "did you mean 'max_lag'?"),
        ("max_lag=soon", "max_lag: 'soon' is not a duration"),
        ("max_lag=10s", "stop_lag is below max_lag"),
        ("target=1d", "target: '1d' is nothing to cut batches to; write a duration from 1ms to 10s"),
        # As the shell hands over a byte that is no UTF-8.
        ("query=SELECT '\udcff'", "query: a text holds U+0000 or what is no UTF-8"),
    ],
)
def test_what_cannot_be_tuned_is_one_line_with_status_2_and_changes_nothing(
    operator: Operator, argument: str, complaint: str
) -> None:
    operator.run_to("preflight")
    ended = operator.tenantry("tune", "workers=5", argument)
    assert ended.returncode == 2
    assert complaint in ended.stderr
    assert json.loads(operator.done("tune", "--json"))["tuned"] == {}


def test_who_reads_the_ledger_holds_up_no_run(operator: Operator) -> None:
    """A pg_dump of the database reads it for hours."""
    operator.run_to("preflight")
    with psycopg.connect(operator.url) as dump:
        dump.execute("LOCK TABLE tenantry.migrations IN ACCESS SHARE MODE")
        operator.run_to("columns")


def test_who_keeps_the_migrations_record_locked_is_told_of_instead_of_waited_for(operator: Operator) -> None:
    operator.run_to("columns")
    with psycopg.connect(operator.url) as shop:
        shop.execute("SELECT FROM tenantry.migrations FOR UPDATE")
        for words in (["pause"], ["cancel"], ["tune", "target=20ms"]):
            said = operator.tenantry(*words)
            assert said.returncode == 1
            assert "another session has kept the record of multi-tenancy locked" in said.stderr
    operator.done("pause")


def test_a_service_of_workers_is_resized_too(operator: Operator, connection: psycopg.Connection) -> None:
    operator.run_to("columns")
    with operator.plan.open("a") as plan:
        plan.write(f'[redis]\nurl = "{operator.queue}"\n')
    with operator.started("worker") as service:
        until(lambda: len(_workers(connection)) == 1, "the one it was started with")
        operator.done("tune", "workers=2")
        until(lambda: len(_workers(connection)) == 2, "two workers")
        service.terminate()
        assert service.wait(30) == 0
