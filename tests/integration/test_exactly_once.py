"""Whatever happens to workers and queue, every row is updated once and the backfill ends by itself."""

import psycopg
import pytest

from control.embedded.valkey import EmbeddedValkey
from tests.conftest import SAMPLE_ENTITIES, SAMPLE_RELATIONS
from tests.integration.backfilling import backfilling, count_updates, plan_of, updates_per_row

#: 2,000 rows in 24 batches and 4,000 in 40, about 0.15 s each.
_SECONDS_PER_ROW = 0.0015

EXACTLY_ONCE = [("graph_entities", SAMPLE_ENTITIES, 1, 1), ("graph_relations", SAMPLE_RELATIONS, 1, 1)]


def _rows_with_another_tenant(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM graph_entities WHERE tenant_id IS DISTINCT FROM properties->>'org_id') "
        "+ (SELECT count(*) FROM graph_relations AS r JOIN graph_entities AS e ON e.id = r.source_id "
        "   WHERE r.tenant_id IS DISTINCT FROM e.tenant_id)"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_an_undisturbed_backfill_updates_every_row_once(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    count_updates(connection)
    with backfilling(plan_of(sample), valkey.url) as running:
        running.end()
    assert updates_per_row(connection) == EXACTLY_ONCE
    assert _rows_with_another_tenant(connection) == 0


@pytest.mark.parametrize("table", ["graph_entities", "graph_relations"])
def test_workers_killed_inside_their_batches_lose_nothing_and_repeat_nothing(
    table: str, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    count_updates(connection, seconds_per_row=_SECONDS_PER_ROW)
    with backfilling(plan_of(sample), valkey.url) as running:
        for share in (0.15, 0.35, 0.55):
            running.reach(table, share)
            running.kill_a_worker_in_its_batch()
            assert 0.1 <= running.share_done(table) <= 0.9
        running.end()
    assert updates_per_row(connection) == EXACTLY_ONCE
    assert _rows_with_another_tenant(connection) == 0


def test_a_queue_flushed_in_the_middle_is_rung_again_from_the_ledger(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    count_updates(connection, seconds_per_row=_SECONDS_PER_ROW)
    with backfilling(plan_of(sample), valkey.url) as running:
        for share in (0.2, 0.5):
            running.reach("graph_relations", share)
            running.queue.flushall()
            assert 0.1 <= running.share_done("graph_relations") <= 0.9
        running.end()
    assert updates_per_row(connection) == EXACTLY_ONCE
    assert _rows_with_another_tenant(connection) == 0


def test_both_workers_killed_and_the_queue_flushed_at_once_still_end_with_every_row_updated_once(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    count_updates(connection, seconds_per_row=_SECONDS_PER_ROW)
    with backfilling(plan_of(sample), valkey.url) as running:
        running.reach("graph_relations", 0.3)
        running.kill_a_worker_in_its_batch()
        running.kill_a_worker_in_its_batch()
        running.queue.flushall()
        assert 0.1 <= running.share_done("graph_relations") <= 0.9
        running.end()
    assert updates_per_row(connection) == EXACTLY_ONCE
