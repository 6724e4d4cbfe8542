"""When each kind is announced on PostgreSQL, and when it is not again."""

import json
import signal

import psycopg

from tests.integration.notified import STAGES, TO_THE_GATE, never, run, told
from tests.integration.operating import Operator
from tests.integration.receiving import receiving
from tests.waiting import until


def test_a_gate_is_told_of_once_and_again_only_when_it_closes_anew(operator: Operator) -> None:
    with receiving() as receiver:
        told(operator, receiver)
        run(operator, status=3)
        assert receiver.what == TO_THE_GATE
        run(operator, status=3)
        assert receiver.what == TO_THE_GATE
        operator.done("rollback", "--to", "backfill", "--yes")
        run(operator, status=3)
    assert receiver.what == [*TO_THE_GATE, "rolled back", "stage indexes", "gate application"]


def test_an_end_is_told_of_once_however_often_a_run_finds_it(operator: Operator) -> None:
    with receiving() as receiver:
        told(operator, receiver, 'on = ["finished"]')
        run(operator, "--to", "indexes")
        operator.done("confirm", "application")
        for _ in range(2):
            run(operator)
    assert receiver.what == ["finished"]


def test_only_what_the_plan_names_is_sent_and_all_stands_in_the_audit(operator: Operator) -> None:
    with receiving() as receiver:
        told(operator, receiver, 'on = ["gate"]')
        run(operator, status=3)
    assert receiver.what == ["gate application"]
    kinds = [event["kind"] for event in json.loads(operator.done("events", "--json"))]
    assert kinds.count("stage") == len(STAGES)
    assert kinds.count("gate") == 1


def test_what_is_announced_stands_in_the_audit_without_a_webhook_too(operator: Operator) -> None:
    run(operator, status=3)
    found = json.loads(operator.done("events", "--json"))
    announced = [event for event in found if event["kind"] in {"stage", "gate"}]
    assert [f"{event['kind']} {event['stage']}" for event in announced] == TO_THE_GATE
    assert not any("delivery" in event for event in found)


def test_a_cancelled_run_closes_no_gate(operator: Operator) -> None:
    run(operator, "--to", "columns")
    operator.edit("[tenant]", f'[backfill]\nactive = "{never()}"\n\n[tenant]')
    with operator.started("run") as process:
        until(lambda: operator.count("SELECT count(held) FROM tenantry.migrations"), "a hold")
        operator.done("cancel")
        assert process.wait(60) == 3
    kinds = [event["kind"] for event in json.loads(operator.done("events", "--json"))]
    assert "cancel" in kinds
    assert "gate" not in kinds


def test_a_stage_that_fails_is_told_with_what_to_do_next(operator: Operator) -> None:
    with receiving() as receiver:
        told(operator, receiver)
        with psycopg.connect(operator.url, autocommit=True) as superuser:
            superuser.execute(
                "CREATE FUNCTION public.never() RETURNS event_trigger LANGUAGE plpgsql"
                " AS $$ BEGIN RAISE 'never'; END $$"
            )
            superuser.execute(
                "CREATE EVENT TRIGGER never ON ddl_command_start WHEN TAG IN ('ALTER TABLE')"
                " EXECUTE FUNCTION public.never()"
            )
        run(operator, status=1)
    assert receiver.what == ["stage preflight", "stage backup", "failed columns"]
    assert "tenantry run" in receiver.got[-1].told["next"]


def test_rows_that_are_set_aside_are_counted_and_none_of_their_keys_is_told(operator: Operator) -> None:
    with psycopg.connect(operator.url) as session:
        count = session.execute("UPDATE graph_entities SET properties = '{}' WHERE id LIKE '%00'").rowcount
    assert count > 0
    with receiving() as receiver:
        told(operator, receiver)
        run(operator, "--no-throttle", status=4)
        what = [one for one in receiver.what if not one.startswith("stage")]
        assert what[-1] == "gate backfill"
        assert set(what[:-1]) == {"quarantine backfill"}
        aside = [got.told["about"]["rows"] for got in receiver.got if got.told["kind"] == "quarantine"]
        assert aside == sorted(set(aside))
        assert len(aside) <= 2
        assert aside[-1] == count
        assert not any(b"entity-0" in got.body for got in receiver.got)

        before = len(receiver.got)
        run(operator, status=4)
        assert receiver.what[before:] == []
        # Set aside again after a retry, they are told again.
        operator.done("retry")
        run(operator, status=4)
        assert receiver.what[before] == "quarantine backfill"
        assert receiver.what[-1] == "gate backfill"


def test_a_hold_that_lasts_is_told_once(operator: Operator) -> None:
    with receiving() as receiver:
        told(operator, receiver, 'held_after = "200ms"')
        operator.edit("[notify]", f'[backfill]\nactive = "{never()}"\n\n[notify]')
        with operator.started("run") as process:
            until(lambda: "held backfill" in receiver.what, "word of the hold")
            # By then it would have been told again five times.
            age = "SELECT extract(epoch FROM clock_timestamp() - max(at))::int FROM tenantry.events"
            until(lambda: operator.count(f"{age} WHERE kind = 'held'") >= 3, "a hold that goes on")
            process.send_signal(signal.SIGINT)
            process.wait()
    assert receiver.what.count("held backfill") == 1
    assert receiver.got[-1].told["about"]["reason"] in receiver.got[-1].told["message"]
