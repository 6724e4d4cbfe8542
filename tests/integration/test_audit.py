"""The audit: every statement of the controller, by whom, when, how long, its lock, and the wait for it."""

import json
import threading
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from control import conductor, locks, steps
from control.course import actor
from control.plan.reading import read_plan
from control.stage import How, Step
from sql.errors import CatalogError
from sql.postgres.connection import connect
from tests.integration.operating import Operator, nobody
from tests.waiting import until
from worker import audit, ledger


@pytest.fixture
def logged(operator: Operator) -> Operator:
    """An operator whose server notes what changes a schema, transaction by transaction."""
    with psycopg.connect(operator.url, autocommit=True) as superuser:
        superuser.execute("CREATE TABLE public.ddl (tag text, query text)")
        superuser.execute(
            "CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO public.ddl VALUES (tg_tag, current_query()); END $$"
        )
        superuser.execute("CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION public.note()")
    return operator


def _events(operator: Operator) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(operator.done("events", "--json"))
    return found


def test_what_the_server_saw_changed_stands_in_the_audit_and_nothing_else_does(logged: Operator) -> None:
    logged.run_to("indexes", count=1)
    logged.run_to("keys")
    statements = [event for event in _events(logged) if event["kind"] == "statement"]
    with psycopg.connect(logged.url) as look:
        seen = look.execute(
            "SELECT DISTINCT query FROM public.ddl WHERE query !~ 'tenantry ledger\\.'"
        ).fetchall()
    assert {event["statement"] for event in statements} == {query for (query,) in seen}
    assert all(event["actor"] == actor() and event["at"] and event["stage"] for event in statements)
    assert all(event["took_ms"] > 0 and event["waited_ms"] >= 0 for event in statements)
    locks_of = {event["message"]: event["lock"] for event in statements}
    assert locks_of["graph_entities: add tenant_id"] == "ACCESS EXCLUSIVE"
    assert locks_of["graph_entities: index idx_entities_tenant"] == "SHARE UPDATE EXCLUSIVE"
    shown = logged.done("events")
    assert "graph_entities: add tenant_id (ACCESS EXCLUSIVE, waited " in shown
    assert 'ALTER TABLE "public"."graph_entities" ADD COLUMN "tenant_id" text' in shown


def _add_note() -> Step:
    return Step(
        what="a column more",
        statement=sql.SQL("ALTER TABLE graph_entities ADD COLUMN note text").format(),
        lock="ACCESS EXCLUSIVE",
        done=lambda _live: False,
        tables=(sql.Identifier("graph_entities"),),
    )


def test_how_long_a_statement_waited_for_its_lock_is_told(
    sample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(locks, "BACK_OFF", lambda _state: 0.3)
    with psycopg.connect(sample) as reader, connect(sample, "test") as connection:
        reader.execute("SELECT FROM graph_entities LIMIT 1")

        def let_go(line: str) -> None:
            told.append(line)
            if len(told) == 2:
                reader.rollback()

        taken = locks.take(connection, _add_note(), notify=let_go)
    # Two attempts of 50 and 100 ms, and two rests.
    assert taken.attempts == 3
    assert taken.waited >= 2 * 0.3 + 0.05 + 0.1
    assert 0 < taken.took < taken.waited


def test_how_long_an_index_waited_for_an_old_transaction_is_told(sample: str) -> None:
    step = Step(
        what="an index",
        statement=sql.SQL("CREATE INDEX CONCURRENTLY more ON graph_entities (id)").format(),
        lock="SHARE UPDATE EXCLUSIVE",
        done=lambda _live: False,
        how=How.ONLINE,
        tables=(sql.Identifier("graph_entities"),),
    )
    found: list[locks.Taken] = []
    told: list[str] = []
    with psycopg.connect(sample) as writer, connect(sample, "test") as connection:
        writer.execute("UPDATE graph_entities SET entity_type = entity_type WHERE id = '-'")
        thread = threading.Thread(
            target=lambda: found.append(locks.take(connection, step, notify=told.append))
        )
        thread.start()
        until(lambda: told, "the name of who is in the way")
        writer.rollback()
        thread.join(30)
    assert found[0].waited > 0
    assert found[0].took >= found[0].waited


def test_a_statement_that_failed_is_told_with_its_error(operator: Operator) -> None:
    operator.run_to("backup")
    plan = read_plan(operator.plan)
    with connect(operator.url, "test") as connection:
        migration = ledger.read(connection, plan.name)
        ground = conductor.ground_of(plan, connection, migration, nobody)
        refused = sql.SQL("ALTER TABLE graph_entities ADD COLUMN id text").format()
        with pytest.raises(CatalogError):
            steps.take([replace(_add_note(), statement=refused)], ground, "columns")
    (event,) = [event for event in _events(operator) if event["kind"] == "statement"]
    assert "already exists" in event["error"]
    assert "took_ms" not in event
    assert "(ACCESS EXCLUSIVE, failed: " in operator.done("events")


def test_the_audit_keeps_its_last_entries_only(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.run_to("preflight")
    monkeypatch.setattr(audit, "EVENTS", 5)
    with connect(operator.url, "test") as connection:
        migration = ledger.read(connection, "multi-tenancy").id
        for number in range(20):
            audit.begin_statement(
                connection,
                migration,
                "me",
                stage="keys",
                what=str(number),
                statement="S" * 9_000,
                lock="none",
            )
        kept = audit.events(connection, migration)
    assert [event.message for event in kept] == ["15", "16", "17", "18", "19"]
    assert {len(event.statement or "") for event in kept} == {audit.CHARACTERS}
