"""What the ledger tells of a job's progress, and of gaps in it."""

import random
from collections.abc import Iterator

import pytest

from control.embedded.valkey import EmbeddedValkey
from control.stages.backfill import jobs_of
from sql.job import Range
from sql.postgres.connection import Connection, connect
from sql.postgres.ledger import JOBS, send
from tests.integration.backfilling import plan_of, prepared
from worker import jobs
from worker.jobs import Job

_COUNTED = """
SELECT coalesce(sum(rows), 0)::bigint AS rows_done, count(*) FILTER (WHERE state = 'pending') AS pending,
       count(*) FILTER (WHERE state = 'done') AS done, count(*) FILTER (WHERE state = 'split') AS split,
       count(*) FILTER (WHERE state = 'quarantined') AS quarantined
FROM tenantry.batches
"""
_DONE = "UPDATE tenantry.batches SET state = 'done', rows = 7, finished_at = clock_timestamp() WHERE id = %s"
_DONE_BUT_A_REST = """
WITH claimed AS (
    UPDATE tenantry.batches SET state = 'done', rows = 3, finished_at = clock_timestamp() WHERE id = %s
    RETURNING job_id, by, lower, upper
)
INSERT INTO tenantry.batches (job_id, origin, by, lower, upper)
SELECT job_id, 'rest', by, lower, upper FROM claimed
"""


@pytest.fixture
def job(sample: str, valkey: EmbeddedValkey) -> Iterator[tuple[Connection, Job]]:
    """A connection, and the entities' job with nothing planned."""
    with connect(sample, "test") as connection:
        plan = plan_of(sample)
        ground = prepared(plan, connection, valkey.url)
        parts = [ground.original.table("graph_entities")]
        (made,) = jobs_of(ground, plan.table("graph_entities"), parts)
        yield connection, made
        assert ground.doorbell is not None
        ground.doorbell.client.close()


@pytest.mark.parametrize("seed", range(5))
def test_what_is_counted_once_and_for_all_is_what_counting_all_gives_whatever_becomes_of_the_batches(
    job: tuple[Connection, Job], seed: int
) -> None:
    connection, of = job
    chance = random.Random(seed)

    def settle(batch: int) -> None:
        match chance.randrange(8):
            case 0:
                send(connection, JOBS.split, batch=batch, middle=["m"])
            case 1:
                send(
                    connection, JOBS.quarantine, batch=batch, key=[str(batch)], sqlstate="23514", message="no"
                )
            case 2:
                connection.execute(_DONE_BUT_A_REST, [batch])
            case 3:
                send(connection, JOBS.failed, batch=batch, sqlstate="55P03", error="no", counts=False)
            case _:
                connection.execute(_DONE, [batch])

    for _ in range(60):
        pending = connection.execute("SELECT id FROM tenantry.batches WHERE state = 'pending'").fetchall()
        if len(pending) < 10:
            ranges = [Range(by="key", lower=None, upper=["z"], stripe=None)] * 20
            jobs.add_batches(connection, of.id, ranges, "plan")
        else:
            settle(chance.choice(pending)[0])
        if chance.random() < 0.3:
            send(connection, JOBS.count_settled, job=of.id)
        if chance.random() < 0.05:
            (migration,) = connection.execute("SELECT id FROM tenantry.migrations").fetchone() or (0,)
            jobs.release(connection, migration)
        (told,) = send(connection, JOBS.progress, migration=1)
        with connection.cursor() as cursor:
            counted = cursor.execute(_COUNTED).fetchone()
        assert (
            tuple(told[name] for name in ("rows_done", "pending", "done", "split", "quarantined")) == counted
        )


def _planned(connection: Connection, of: Job, *edges: tuple[str | None, str]) -> list[tuple[int, str]]:
    """The gaps of a job of two stripes, its last key `z`, with these batches in the second stripe."""
    whole = Range(by="key", lower=None, upper=["z"], stripe=0)
    there = [
        Range(by="key", lower=[lower] if lower else None, upper=[upper], stripe=1) for lower, upper in edges
    ]
    jobs.add_batches(connection, of.id, [whole, *there], "plan")
    found = send(connection, JOBS.gaps, job=of.id, stripes=2, last_key=["z"])
    return [(gap["stripe"], gap["gap"]) for gap in found]


def test_a_chain_from_the_first_key_to_the_last_has_no_gap(job: tuple[Connection, Job]) -> None:
    assert _planned(*job, (None, "k"), ("k", "p"), ("p", "z")) == []


def test_a_chain_has_no_gap_where_halves_stand_for_the_whole(job: tuple[Connection, Job]) -> None:
    connection, of = job
    assert _planned(connection, of, (None, "k"), ("k", "z")) == []
    (last,) = connection.execute("SELECT max(id) FROM tenantry.batches").fetchone() or (0,)
    send(connection, JOBS.split, batch=last, middle=["p"])
    assert send(connection, JOBS.gaps, job=of.id, stripes=2, last_key=["z"]) == []


def test_every_gap_is_told_with_its_stripe(job: tuple[Connection, Job]) -> None:
    assert sorted(_planned(*job, ("b", "k"), ("p", "x"))) == [
        (1, "nothing begins at the first key"),
        (1, "nothing goes on after {k}"),
        (1, "nothing goes on after {x}"),
        (1, "nothing leads to {b}"),
        (1, "nothing leads to {p}"),
        (1, "nothing reaches the last key"),
    ]
