"""A controller whose queue server is gone goes on by the ledger."""

from pathlib import Path

import psycopg
from structlog.testing import capture_logs

from tests.integration.backfilling import count_updates, filling, plan_of, updates_per_row
from tests.integration.queue_server import address_of, queue_server
from tests.waiting import until


def test_batches_that_could_not_be_rung_for_are_rung_for_once_the_queue_server_is_there_and_it_is_said_once(
    sample: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    socket = tmp_path / "valkey.sock"
    count_updates(connection)
    with (
        queue_server(socket) as own,
        capture_logs() as logs,
        filling(plan_of(sample), address_of(socket), between=own.kill) as under_way,
    ):

        def said() -> list[str]:
            return [log["error"] for log in logs if log["event"].startswith("the queue server does not")]

        until(said, "a word of the queue server that is gone")
        taken_back = "SELECT FROM tenantry.batches HAVING count(*) > 0 AND max(rings) = 0"
        until(lambda: connection.execute(taken_back).rowcount, "rings taken back that reached nobody")
        with queue_server(socket):
            under_way.end()
        assert said() == ["ConnectionError"]
    assert updates_per_row(connection) == [
        ("graph_entities", 2_000, 1, 1),
        ("graph_relations", 4_000, 1, 1),
    ]
