"""A run whose statement the server ends: said with what to do, on record as failed, and taken up again."""

import json

import psycopg
import pytest

from tests.integration.operating import Operator, complaint
from tests.waiting import until

#: Whoever waits for the table itself: another lane waits for a moment, and for whoever looks at this.
_CONTROLLER = (
    "SELECT a.pid FROM pg_stat_activity AS a JOIN pg_locks AS l USING (pid) "
    "WHERE a.application_name = 'tenantry controller' AND a.datname = current_database() "
    "AND l.relation = 'graph_entities'::regclass AND NOT l.granted"
)


def _failed(operator: Operator, stage: str) -> tuple[str, str]:
    """What `status` says of a stage that must have failed, and what the audit says."""
    stages = json.loads(operator.done("status", "--json"))["stages"]
    (told,) = [one["detail"] for one in stages if one["name"] == stage and one["state"] == "failed"]
    events = json.loads(operator.done("events", "--json"))
    (kept,) = [event["message"] for event in events if event["kind"] == "failed"]
    return told, kept


def test_a_server_without_room_is_named_and_the_run_goes_on_once_there_is_some(operator: Operator) -> None:
    operator.run_to("backup")
    with psycopg.connect(operator.url, autocommit=True) as superuser:
        superuser.execute(
            "CREATE FUNCTION full_disk() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
        )
        superuser.execute(
            "CREATE EVENT TRIGGER full_disk ON ddl_command_start WHEN tag IN ('ALTER TABLE') "
            "EXECUTE FUNCTION full_disk()"
        )
        ended = operator.tenantry("run", "--to", "columns")
        assert ended.returncode == 1
        told = (
            "columns: could not extend file (53100); make room on the server, then give the same command "
            "again: it goes on from there"
        )
        assert complaint(ended.stderr) == f"tenantry: {told}"
        assert _failed(operator, "columns") == (told, f"columns: {told}")
        (statement,) = [
            event for event in json.loads(operator.done("events", "--json")) if event["kind"] == "statement"
        ]
        assert "could not extend file" in statement["error"]
        superuser.execute("DROP EVENT TRIGGER full_disk")
        superuser.execute("DROP FUNCTION full_disk")
    operator.done("run", "--to", "columns")


@pytest.mark.parametrize(
    ("stage", "before", "workers"),
    [("columns", "backup", 0), ("indexes", "backfill", 1)],
    ids=["its own session", "a lane's"],
)
def test_a_run_whose_session_is_ended_says_so_and_is_taken_up_again(
    operator: Operator, stage: str, before: str, workers: int
) -> None:
    operator.run_to(before, count=workers)
    with psycopg.connect(operator.url) as writer, operator.started("run", "--to", stage) as run:
        writer.execute("LOCK TABLE graph_entities IN SHARE UPDATE EXCLUSIVE MODE")
        with psycopg.connect(operator.url, autocommit=True) as other:
            until(lambda: other.execute(_CONTROLLER).fetchall(), "a statement to wait for the lock")
            other.execute(f"SELECT pg_terminate_backend(pid) FROM ({_CONTROLLER}) AS waiting")
        assert run.wait(60) == 1
    assert "see that the server is up and reachable" in complaint(operator.said.read_text())
    told, kept = _failed(operator, stage)
    assert kept == f"{stage}: {told}"
    operator.done("run", "--to", stage)
