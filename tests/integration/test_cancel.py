"""Pause, resume and cancel: wherever a run is, it waits or ends there, and is taken up again."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from control import steering
from control.embedded.valkey import EmbeddedValkey
from control.stages import backfill
from tests.integration.backfilling import backfilling, count_updates, plan_of
from tests.integration.operating import Operator, complaint
from tests.waiting import until

_CANCELLED = (
    "multi-tenancy is cancelled. `tenantry resume`, then `tenantry run` take it up again; "
    "`tenantry rollback` walks back"
)


def _ends_cancelled(operator: Operator, run: subprocess.Popen[str], stage: str) -> None:
    """The run ends by itself with status 3, and says what next."""
    assert run.wait(60) == 3
    assert complaint(operator.said.read_text()) == f"tenantry: {stage} waits: {_CANCELLED}"
    status = json.loads(operator.done("status", "--json"))
    assert status["state"] == "cancelled"
    assert [one["state"] for one in status["stages"] if one["name"] == stage] == ["waiting"]


def _goes_on_when_resumed(operator: Operator, *, to: str) -> None:
    refused = operator.tenantry("run", "--to", to)
    assert refused.returncode == 3
    assert complaint(refused.stderr) == (
        "tenantry: run waits: the migration is cancelled. "
        "`tenantry resume` lets it go on; `tenantry rollback` walks back"
    )
    operator.done("resume")
    operator.done("run", "--to", to)
    kinds = [event["kind"] for event in json.loads(operator.done("events", "--json"))]
    assert [kind for kind in kinds if kind in {"pause", "cancel", "resume"}][-2:] == ["cancel", "resume"]


def _there(operator: Operator, query: str, what: str) -> None:
    until(lambda: operator.count("SELECT (to_regclass('tenantry.batches') IS NOT NULL)::int"), "the ledger")
    until(lambda: operator.count(query), what)


@contextmanager
def _in_its_backfill(operator: Operator) -> Iterator[subprocess.Popen[str]]:
    """A run after its first batch, that can't end its backfill before the context ends."""
    operator.run_to("columns")
    with psycopg.connect(operator.url) as application:
        application.execute("SELECT FROM graph_relations ORDER BY id DESC LIMIT 1 FOR UPDATE")
        with operator.started("run", "--to", "backfill") as run:
            filled = "SELECT coalesce(sum(rows), 0) FROM tenantry.batches"
            until(lambda: operator.count(filled), "the first batch")
            yield run


def test_a_run_that_is_cancelled_in_its_backfill_ends_and_is_taken_up_again(operator: Operator) -> None:
    with _in_its_backfill(operator) as run:
        operator.done("cancel")
        _ends_cancelled(operator, run, "backfill")
    _goes_on_when_resumed(operator, to="backfill")
    assert operator.count("SELECT count(*) FROM graph_relations WHERE tenant_id = ''") == 0


def test_a_paused_run_can_be_cancelled(operator: Operator) -> None:
    with _in_its_backfill(operator) as run:
        operator.done("pause")
        assert run.poll() is None
        operator.done("cancel")
        _ends_cancelled(operator, run, "backfill")


def test_a_run_that_is_cancelled_while_it_waits_for_a_lock_ends_before_its_next_attempt(
    operator: Operator,
) -> None:
    with (
        psycopg.connect(operator.url) as other,
        psycopg.connect(operator.url, autocommit=True) as look,
    ):
        other.execute("SELECT FROM graph_entities LIMIT 1")
        with operator.started("run", "--to", "columns") as run:
            began = "SELECT count(*) FROM tenantry.stages WHERE name = 'columns' AND state = 'running'"
            _there(operator, began, "the columns to be added")
            operator.done("cancel")
            _ends_cancelled(operator, run, "columns")
        column = "SELECT FROM information_schema.columns WHERE column_name = 'tenant_id'"
        assert look.execute(column).rowcount == 0
    _goes_on_when_resumed(operator, to="columns")


def test_a_run_that_is_cancelled_in_builds_behind_an_old_transaction_ends_and_builds_them_again(
    operator: Operator,
) -> None:
    operator.run_to("backfill", count=1)
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    waits = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'virtualxid' "
        "AND pid IN (SELECT pid FROM pg_stat_activity "
        "WHERE application_name = 'tenantry controller' AND datname = current_database())"
    )
    with psycopg.connect(operator.url) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT FROM graph_entities LIMIT 1")
        with operator.started("run", "--to", "indexes") as run:
            until(lambda: operator.count(waits) == 2, "an index of each table to wait for it")
            operator.done("cancel")
            _ends_cancelled(operator, run, "indexes")
        assert operator.count(invalid) == 2
    _goes_on_when_resumed(operator, to="indexes")
    assert operator.count(invalid) == 0


def test_a_run_that_is_cancelled_in_its_dump_ends_the_dump_and_leaves_no_file(operator: Operator) -> None:
    kept = operator.folder / "kept"
    kept.mkdir()
    operator.edit("[tenant]", f'[backup]\npath = "{kept}/before.dump"\n\n[tenant]')
    operator.run_to("preflight")
    dumping = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'pg_dump' AND datname = current_database()"
    )
    with psycopg.connect(operator.url) as other:
        # A table beside the plan's: the controller itself reads those.
        other.execute("CREATE TABLE beside (id int)")
        other.commit()
        other.execute("LOCK TABLE beside IN ACCESS EXCLUSIVE MODE")
        with operator.started("run", "--to", "backup") as run:
            until(lambda: operator.count(f"{dumping} AND wait_event_type = 'Lock'"), "the dump to wait")
            operator.done("cancel")
            _ends_cancelled(operator, run, "backup")
        assert operator.count(dumping) == 0
        assert list(kept.iterdir()) == []
    _goes_on_when_resumed(operator, to="backup")
    assert sorted(path.name for path in kept.iterdir()) == ["before.dump", "before.dump.json"]


def test_a_paused_run_takes_no_further_step_until_it_is_resumed(operator: Operator) -> None:
    column = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'tenant_id'"
    looks = (
        "SELECT extract(epoch FROM query_start) FROM pg_stat_activity WHERE application_name = "
        "'tenantry controller' AND datname = current_database() AND query LIKE '%ledger.state%'"
    )
    with psycopg.connect(operator.url) as other, psycopg.connect(operator.url, autocommit=True) as look:
        other.execute("SELECT FROM graph_entities LIMIT 1")
        with operator.started("run", "--to", "columns") as run:
            began = "SELECT count(*) FROM tenantry.stages WHERE name = 'columns' AND state = 'running'"
            _there(operator, began, "the columns to be added")
            operator.done("pause")
            seen: set[object] = set()

            def looked_often() -> bool:
                seen.update(look.execute(looks).fetchall())
                return len(seen) > 4

            # An attempt that was under way as the word came would else get the lock.
            until(looked_often, "the controller to have heard it")
            other.rollback()
            seen.clear()
            until(looked_often, "the controller to look again and again")
            assert run.poll() is None
            assert operator.count(column) == 0
            operator.done("resume")
            assert run.wait(60) == 0
        assert operator.count(column) == 2


def test_a_cancelled_migration_is_walked_back(operator: Operator) -> None:
    before = operator.schema()
    operator.run_to("columns")
    operator.done("cancel")
    operator.done("rollback", "--yes")
    assert operator.schema() == before


@pytest.mark.parametrize("word", ["pause", "cancel"])
def test_a_migration_that_is_over_is_neither_paused_nor_cancelled(operator: Operator, word: str) -> None:
    operator.run_to("columns")
    with psycopg.connect(operator.url, autocommit=True) as connection:
        connection.execute("UPDATE tenantry.migrations SET state = 'complete'")
    ended = operator.tenantry(word)
    assert (ended.returncode, complaint(ended.stderr)) == (
        2,
        f"tenantry: multi-tenancy is complete; there is nothing to {word}",
    )


def test_the_controller_of_a_paused_run_plans_rings_and_complains_of_nothing(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RING_AGAIN", "RING_LOST", "CARE_EVERY"):
        monkeypatch.setattr(backfill, name, 0.05)
    plan = plan_of(sample)
    count_updates(connection, seconds_per_row=0.002)
    rung = "SELECT count(*), sum(rings), max(rung_at) FROM tenantry.batches WHERE state = 'pending'"
    looks = (
        "SELECT query_start FROM pg_stat_activity WHERE application_name = 'tenantry controller' "
        "AND datname = current_database() AND query LIKE '%ledger.state%'"
    )
    at_work = (
        "SELECT FROM pg_stat_activity WHERE application_name LIKE 'tenantry worker %' "
        "AND datname = current_database() AND state = 'active'"
    )
    with backfilling(plan, valkey.url, 1) as running:
        running.reach("graph_entities", 0.05)
        steering.pause(plan, connection)
        seen: set[object] = set()

        def looked(times: int) -> bool:
            seen.update(connection.execute(looks).fetchall())
            return len(seen) > times

        until(lambda: looked(2) and not connection.execute(at_work).rowcount, "the pause to be heard")
        before = connection.execute(rung).fetchone()
        until(lambda: looked(8), "the controller to look again and again")
        assert connection.execute(rung).fetchone() == before
        assert running.thread.is_alive()
        for table in ("graph_entities", "graph_relations"):
            connection.execute(f"DROP TRIGGER see_update ON {table}".encode())
        steering.resume(plan, connection)
        running.end()
    assert connection.execute("SELECT DISTINCT state FROM tenantry.batches").fetchall() == [("done",)]
