"""A webhook beside a migration of PostgreSQL: all of it arrives in order, and keeps nobody waiting."""

import json
import signal
import threading

import psycopg
import pytest

from control.notify import webhook
from control.notify.sender import delivering
from control.plan.reading import read_plan
from tests.integration.notified import SECRET, TO_THE_GATE, deliveries, run, told
from tests.integration.operating import Operator, complaint
from tests.integration.receiving import Got, receiving
from tests.waiting import until


def _everywhere(operator: Operator) -> str:
    """All that the ledger holds, and all that was written beside the plan."""
    dumped = operator.server.run("pg_dump", "--data-only", "--schema=tenantry", operator.url).stdout
    files = [each for each in operator.folder.iterdir() if each.is_file() and each != operator.plan]
    return str(dumped) + "".join(each.read_text(errors="replace") for each in files)


def _closed_port() -> int:
    """A port where nobody listens."""
    with receiving() as receiver:
        return receiver.port


def test_all_that_happens_arrives_once_and_in_order_and_the_secrets_are_nowhere(operator: Operator) -> None:
    with receiving() as receiver:
        told(operator, receiver)
        said = run(operator, status=3)
        assert receiver.what == TO_THE_GATE
        gate = receiver.got[-1].told
        assert gate["next"] == gate["about"]["opens"]
        assert gate["status"]["stages"]["application"] == "waiting"
        assert gate["status"]["rows_total"] > 0
        assert gate["status"]["rows_remaining"] == 0

        operator.done("confirm", "application")
        said += run(operator)
        done = ["stage application", "stage keys", "stage rls", "stage verify", "finished"]
        assert receiver.what == [*TO_THE_GATE, *done]

        everything = _everywhere(operator) + said + operator.done("events") + operator.done("status")
        assert "PATH-SECRET" not in everything
        assert SECRET not in everything

        operator.done("rollback", "--yes")
        assert receiver.what == [*TO_THE_GATE, *done, "rolled back"]
        assert len({got.id for got in receiver.got}) == len(receiver.got)


def test_an_id_is_never_that_of_another_migration_of_the_same_name(operator: Operator) -> None:
    with receiving() as receiver:
        told(operator, receiver)
        for _ in range(2):
            run(operator, "--to", "backup")
            operator.done("rollback", "--yes")
    assert receiver.what == ["stage preflight", "stage backup", "rolled back"] * 2
    assert len({got.id for got in receiver.got}) == 6


def test_what_could_not_be_sent_goes_out_with_the_next_command(operator: Operator) -> None:
    port = _closed_port()
    with receiving(port=port) as receiver:
        told(operator, receiver)
    run(operator, "--to", "preflight")
    assert deliveries(operator) == [("stage", "due")]
    assert "not sent yet: nobody listens there" in operator.done("events")
    assert "1 not sent yet (nobody listens there)" in operator.done("status")
    with receiving(port=port) as receiver:
        run(operator, "--to", "backup")
    assert receiver.what == ["stage preflight", "stage backup"]
    assert deliveries(operator) == [("stage", "sent")] * 2
    assert "not sent" not in operator.done("events") + operator.done("status")


def test_what_is_left_is_sent_by_a_command_of_its_own(operator: Operator) -> None:
    port = _closed_port()
    with receiving(port=port) as receiver:
        told(operator, receiver)
    run(operator, "--to", "backup")
    with receiving(port=port) as receiver:
        assert operator.done("notify") == f"http://127.0.0.1:{port}: 2 messages sent\n"
        assert operator.done("notify") == f"http://127.0.0.1:{port}: 0 messages sent\n"
    assert receiver.what == ["stage preflight", "stage backup"]


def test_what_fails_is_tried_until_it_is_through_and_what_is_behind_it_waits(operator: Operator) -> None:
    with receiving(lambda _got: 503 if len(receiver.got) == 1 else 200) as receiver:
        told(operator, receiver)
        run(operator, "--to", "backup")
    assert receiver.what == ["stage preflight", "stage preflight", "stage backup"]
    assert receiver.got[0].id == receiver.got[1].id


def test_what_is_refused_is_told_and_keeps_nothing_behind_it(operator: Operator) -> None:
    with receiving(lambda got: 404 if got.what == "stage preflight" else 200) as receiver:
        told(operator, receiver)
        said = run(operator, "--to", "backup")
        assert receiver.what == ["stage preflight", "stage backup"]
        said += run(operator, "--to", "backup")
        assert len(receiver.got) == 2
    assert said.count("a notification was refused") == 1
    assert deliveries(operator) == [("stage", "refused"), ("stage", "sent")]
    assert "refused by the webhook: 404 Not Found" in operator.done("events")
    assert "1 refused or given up (404 Not Found)" in operator.done("status")


def test_a_receiver_that_does_not_answer_keeps_no_run_waiting(operator: Operator) -> None:
    ended = threading.Event()

    def silent(_got: Got) -> int:
        ended.wait(60)
        return 200

    with receiving(silent) as receiver:
        told(operator, receiver)
        # It answers only once the run is over: were it waited for, that would not end.
        run(operator, "--to", "columns")
        ended.set()
    assert deliveries(operator) == [("stage", "due")] * 3
    assert set(receiver.what) == {"stage preflight"}


def _killed(operator: Operator, *arguments: str, when: threading.Event) -> None:
    with operator.started("run", *arguments) as process:
        assert when.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    alive = (
        "SELECT (count(*) = 0)::int FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name IN ('tenantry controller', 'tenantry notify')"
    )
    until(lambda: operator.count(alive), "the end of the killed run's sessions")


def test_what_was_sent_and_not_marked_when_the_run_was_killed_is_sent_again_with_its_id(
    operator: Operator,
) -> None:
    here, killed = threading.Event(), threading.Event()

    def late(_got: Got) -> int:
        here.set()
        killed.wait(60)
        return 200

    with receiving(late) as receiver:
        told(operator, receiver)
        _killed(operator, "--to", "preflight", when=here)
        killed.set()
        run(operator, "--to", "backup")
    assert receiver.what == ["stage preflight", "stage preflight", "stage backup"]
    assert receiver.got[0].id == receiver.got[1].id != receiver.got[2].id


def test_what_was_not_sent_when_the_run_was_killed_is_sent_by_the_next(operator: Operator) -> None:
    port = _closed_port()
    with receiving(port=port) as receiver:
        told(operator, receiver)
    tried = threading.Event()

    def look() -> None:
        there = "SELECT (to_regclass('tenantry.events') IS NOT NULL)::int"
        until(lambda: operator.count(there), "the ledger")
        due = "SELECT count(*) FROM tenantry.events WHERE delivery = 'due'"
        until(lambda: operator.count(due), "an announcement")
        tried.set()

    thread = threading.Thread(target=look)
    thread.start()
    _killed(operator, "--to", "preflight", when=tried)
    thread.join()
    with receiving(port=port) as receiver:
        run(operator, "--to", "backup")
    assert receiver.what == ["stage preflight", "stage backup"]


def test_two_senders_never_send_the_same_and_keep_no_transaction_open(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "READ", 60.0)
    monkeypatch.setattr(webhook, "WHOLE", 60.0)
    here, go = threading.Event(), threading.Event()

    def slow(_got: Got) -> int:
        here.set()
        go.wait(60)
        return 200

    port = _closed_port()
    with receiving(port=port) as receiver:
        told(operator, receiver)
    run(operator, "--to", "backup")
    plan = read_plan(operator.plan)
    sending = (
        "SELECT state FROM pg_stat_activity"
        " WHERE application_name = 'tenantry notify' AND datname = current_database()"
    )
    begun = "SELECT sessions::int FROM pg_stat_database WHERE datname = current_database()"
    with (
        receiving(slow, port=port) as receiver,
        psycopg.connect(operator.url, autocommit=True) as look,
        delivering(plan, grace=60),
    ):
        assert here.wait(60)
        assert look.execute(sending).fetchall() == [("idle",)]
        ((before,),) = look.execute(begun).fetchall()
        with delivering(plan, grace=0):
            # A sender that finds the outbox taken comes again a second later, in another session.
            until(lambda: look.execute(begun).fetchall() >= [(before + 2,)], "the second sender's looks")
            go.set()
    assert receiver.what == ["stage preflight", "stage backup"]


def test_what_is_a_day_old_is_given_up(operator: Operator) -> None:
    port = _closed_port()
    with receiving(port=port) as receiver:
        told(operator, receiver)
    run(operator, "--to", "preflight")
    with psycopg.connect(operator.url) as session:
        session.execute("UPDATE tenantry.events SET at = at - interval '25 hours'")
    with receiving(port=port) as receiver:
        said = run(operator, "--to", "backup")
    assert receiver.what == ["stage backup"]
    assert "a notification was given up" in said
    assert deliveries(operator) == [("stage", "given up"), ("stage", "sent")]


def test_a_way_back_that_nobody_hears_of_says_so(operator: Operator) -> None:
    with receiving() as receiver:
        told(operator, receiver)
    run(operator, "--to", "backup")
    ended = operator.tenantry("rollback", "--yes")
    assert ended.returncode == 0
    assert "3 notification(s) could not be delivered" in ended.stdout
    assert operator.count("SELECT (to_regclass('tenantry.events') IS NULL)::int") == 1


def test_a_test_message_says_what_came_back_before_there_is_a_migration(operator: Operator) -> None:
    with receiving() as receiver:
        told(operator, receiver)
        assert f"http://127.0.0.1:{receiver.port} answered 204 in " in operator.done("notify", "--test")
        assert receiver.got[0].told["kind"] == "test"
        assert "webhook-signature" in receiver.got[0].headers
        receiver.answer = lambda _got: 403
        refused = operator.tenantry("notify", "--test")
    assert refused.returncode == 1
    assert "403 Forbidden" in complaint(refused.stderr)
    unheard = operator.tenantry("notify", "--test")
    assert unheard.returncode == 1
    assert "nobody listens there" in complaint(unheard.stderr)
    assert "PATH-SECRET" not in refused.stderr + unheard.stderr


def test_slack_gets_its_own_form(operator: Operator) -> None:
    with receiving() as receiver:
        told(operator, receiver, 'form = "slack"')
        operator.done("notify", "--test")
    (got,) = receiver.got
    sent = json.loads(got.body)
    assert sent["text"].endswith("messages of this migration arrive here")
    assert [block["type"] for block in sent["blocks"]] == ["section", "context"]


def test_a_variable_that_is_not_set_ends_a_run_before_anything_is_touched(operator: Operator) -> None:
    operator.edit("[tenant]", '[notify]\nurl = "env:NO_SUCH_VARIABLE"\n\n[tenant]')
    before = operator.schema()
    ended = operator.tenantry("run")
    assert ended.returncode == 2
    assert "the webhook's address from $NO_SUCH_VARIABLE" in complaint(ended.stderr)
    assert operator.schema() == before


@pytest.mark.parametrize("command", [("notify",), ("notify", "--test")])
def test_a_plan_without_a_webhook_has_nothing_to_send(operator: Operator, command: tuple[str, ...]) -> None:
    ended = operator.tenantry(*command)
    assert ended.returncode == 2
    assert "[notify]" in complaint(ended.stderr)
