"""What becomes of batches that fail, are lost, or may not go."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from control import status
from control.embedded.valkey import EmbeddedValkey
from control.holds import Waiting
from control.plan.model import Plan
from control.plan.writing import toml
from control.stage import Ground
from control.stages import backfill
from control.stages.backfill import jobs_of
from sql.errors import QuarantineError
from sql.postgres.batch import never_in_the_way
from sql.postgres.connection import Connection, connect
from sql.postgres.ledger import JOBS, send
from tests.conftest import SAMPLE_ENTITIES
from tests.integration.backfilling import (
    UnderWay,
    backfilling,
    count_updates,
    filling,
    plan_of,
    prepared,
    updates_per_row,
)
from tests.waiting import until
from worker import batch as batches
from worker import jobs, ledger, paging
from worker.batch import Failed, Filling
from worker.failure import Failure
from worker.jobs import Batch, Job

_BAD = "entity-0000000778"
_ON_ONE_ROW = """
CREATE FUNCTION public.on_one_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {do};
    RETURN NEW;
END $$;
CREATE TRIGGER on_one_row BEFORE UPDATE ON public.graph_entities
    FOR EACH ROW {when} EXECUTE FUNCTION public.on_one_row();
"""

#: Batches of 100 rows, and rows of six of them.
_CONTIGUOUS = {"paging": "contiguous", "first_batch": 100}
_FAR_APART = tuple(f"entity-{n:010}" for n in range(150, 1_350, 200))
_RAISE = """
    IF EXISTS (SELECT FROM public.causes AS c WHERE c.id = NEW.id) THEN
        RAISE EXCEPTION 'not this one'
            USING ERRCODE = (SELECT c.code FROM public.causes AS c WHERE c.id = NEW.id);
    END IF
"""
_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name LIKE 'tenantry worker %' AND state = 'active' AND query LIKE '%batch.fill%'
  AND datname = current_database()
"""


def _at_update(connection: psycopg.Connection, do: str, *, of_row: str | None = None) -> None:
    when = f"WHEN (NEW.id = '{of_row}')" if of_row else ""
    connection.execute(_ON_ONE_ROW.format(do=do, when=when).encode())


def _raise_at(connection: psycopg.Connection, codes: dict[str, str]) -> None:
    """Fail the update of each of these rows with its code, for as long as the row is among the causes."""
    connection.execute("CREATE TABLE public.causes (id text PRIMARY KEY, code text NOT NULL)")
    for id_, code in codes.items():
        connection.execute("INSERT INTO public.causes VALUES (%s, %s)", [id_, code])
    _at_update(connection, _RAISE)


def _all_waiting(plan: Plan, codes: set[str]) -> list[Waiting]:
    """What waits, once there is something of each of these codes."""
    with connect(plan.database.url.get_secret_value(), "test") as session:
        waiting = [one for one in status.read(session, plan.name).waiting if one.sqlstate in codes]
    return waiting if {one.sqlstate for one in waiting} == codes else []


@contextmanager
def _passing_failures(
    sample: str, connection: psycopg.Connection, queue: str
) -> Iterator[tuple[UnderWay, list[Waiting]]]:
    """A backfill with a row of each class that passes by itself, once each waits; and what waits."""
    codes = dict(zip(_FAR_APART, ("08006", "40001", "40P01", "53100", "55P03", "57P03"), strict=True))
    _raise_at(connection, codes)
    plan = plan_of(sample, backfill=_CONTIGUOUS)
    with filling(plan, queue) as running:
        yield running, until(lambda: _all_waiting(plan, set(codes.values())), "every failure waiting")


def _states(connection: psycopg.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT DISTINCT state FROM tenantry.batches")}


def _unfilled(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute("SELECT id FROM graph_entities WHERE tenant_id = '' ORDER BY id")
    return [row[0] for row in rows]


def _tenantry(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "tenantry"
    return subprocess.run(
        [program, *arguments], cwd=folder, check=False, timeout=120, stdout=subprocess.PIPE, text=True
    )


@contextmanager
def _as_a_worker(plan: Plan, queue: str) -> Iterator[tuple[Connection, Ground, Job]]:
    """A connection as workers have it, and the job of the entities."""
    with connect(plan.database.url.get_secret_value(), "test") as connection:
        ground = prepared(plan, connection, queue)
        (job,) = jobs_of(ground, plan.table("graph_entities"), [ground.original.table("graph_entities")])
        never_in_the_way(connection)
        yield connection, ground, job
        assert ground.doorbell is not None
        ground.doorbell.client.close()


@pytest.mark.parametrize(("rows", "failed"), [(2_000, 0), (10, 1)])
def test_a_batch_out_of_time_is_halved_and_counts_as_failed_only_if_it_is_small(
    rows: int, failed: int, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    _at_update(connection, "PERFORM pg_sleep(0.1)")
    with _as_a_worker(plan_of(sample, backfill={"paging": "contiguous"}), valkey.url) as (session, _, job):
        first = paging.plan_group(session, job, batch_rows=rows)[0]
        (batch,) = jobs.slice_of(session, first, first)
        outcome = batches.run(session, batch, Filling(job.table, job.spec))
        assert outcome == Failed(Failure.TIMEOUT, "57014", again=True)
        halves = session.execute(
            "SELECT count(*) FROM tenantry.batches WHERE split_from = %s", [batch.id]
        ).fetchone()
        assert halves == (2,)
        assert send(session, JOBS.failing, job=job.id)[0]["failed"] == failed


def test_a_batch_that_was_too_long_to_read_in_time_is_halved_too(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute(
        "INSERT INTO graph_entities (id, entity_type) "
        "SELECT 'z' || n, 'x' FROM generate_series(1, 200000) AS n"
    )
    with _as_a_worker(plan_of(sample, backfill={"paging": "contiguous"}), valkey.url) as (session, _, job):
        first = paging.plan_group(session, job, batch_rows=1_000_000)[0]
        (batch,) = jobs.slice_of(session, first, first)
        session.execute("SET statement_timeout = 40")
        assert batches.run(session, batch, Filling(job.table, job.spec)) == Failed(
            Failure.TIMEOUT, "57014", again=True
        )
        assert session.execute(
            "SELECT state, count(*) FROM tenantry.batches GROUP BY 1 ORDER BY 1"
        ).fetchall() == [
            ("pending", 2),
            ("split", 1),
        ]


def test_a_batch_whose_key_has_another_name_now_stops_its_job(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with _as_a_worker(plan_of(sample, backfill=_CONTIGUOUS), valkey.url) as (session, _, job):
        first = paging.plan_group(session, job, batch_rows=100)[0]
        (batch,) = jobs.slice_of(session, first, first)
        connection.execute("ALTER TABLE graph_entities RENAME COLUMN id TO other")
        for _ in range(2):
            outcome = batches.run(session, batch, Filling(job.table, job.spec))
            assert outcome == Failed(Failure.REFUSED, "42703", again=True)
        stopped = jobs.read(session, job.id)
        assert stopped.state == "stopped"
        assert (stopped.reason or "").startswith("column t.id does not exist: ")


#: What a role without rights of its own must have to do a batch of the entities, but for the table's.
_PLAIN = """
CREATE ROLE {role} LOGIN;
GRANT USAGE ON SCHEMA tenantry TO {role};
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA tenantry TO {role};
GRANT {rights} ON graph_entities TO {role};
"""
_AUDITED = """
CREATE TABLE public.trail (id text);
CREATE FUNCTION public.leave_trail() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.trail VALUES (NEW.id); RETURN NEW; END $$;
CREATE TRIGGER leave_trail BEFORE UPDATE ON graph_entities FOR EACH ROW EXECUTE FUNCTION public.leave_trail();
"""
_NOT_THIS_ONE = "RAISE EXCEPTION 'not this one' USING ERRCODE = '42501'"


@contextmanager
def _plain_worker(
    sample: str, connection: psycopg.Connection, queue: str, rights: str
) -> Iterator[tuple[Connection, Job, Batch, str]]:
    """A worker without rights of its own, with a batch before it; and what its role is called."""
    role = f"plain_{connection.info.dbname}"
    with _as_a_worker(plan_of(sample, backfill=_CONTIGUOUS), queue) as (session, _, job):
        (first, *_) = paging.plan_group(session, job, batch_rows=100)
        (batch,) = jobs.slice_of(session, first, first)
        connection.execute(_PLAIN.format(role=role, rights=rights).encode())
        try:
            session.execute(f"SET ROLE {role}".encode())
            yield session, job, batch, role
        finally:
            session.execute("RESET ROLE")
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def _set_aside(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM tenantry.quarantine").fetchone()
    return -1 if row is None else int(row[0])


@pytest.mark.parametrize(
    ("rights", "made", "granted", "why"),
    [
        (
            "SELECT",
            "",
            "GRANT UPDATE ON graph_entities TO {role}",
            "permission denied for table graph_entities: {role} lacks UPDATE, and `tenantry roles --sql`",
        ),
        (
            "SELECT, UPDATE",
            _AUDITED,
            "GRANT INSERT ON public.trail TO {role}",
            "permission denied for table trail, in PL/pgSQL function leave_trail() line 1 at ",
        ),
    ],
    ids=["the table's", "a trigger's"],
)
def test_a_missing_right_stops_the_job_and_says_which_and_nothing_is_set_aside(
    *,
    rights: str,
    made: str,
    granted: str,
    why: str,
    sample: str,
    connection: psycopg.Connection,
    valkey: EmbeddedValkey,
) -> None:
    connection.execute(made.encode())
    with _plain_worker(sample, connection, valkey.url, rights) as (session, job, batch, role):
        fill = Filling(job.table, job.spec)
        for _ in range(2):
            assert batches.run(session, batch, fill) == Failed(Failure.REFUSED, "42501", again=True)
        stopped = jobs.read(session, job.id)
        assert (stopped.state, (stopped.reason or "").startswith(why.format(role=role))) == ("stopped", True)
        assert _set_aside(connection) == 0
        assert _states(connection) == {"pending"}
        connection.execute(granted.format(role=role).encode())
        with connect(sample, "retry") as retry:
            jobs.release(retry, ledger.read(retry, "sample").id)
        done = batches.run(session, batch, fill)
        assert isinstance(done, batches.Done)
        assert done.rows == _filled(connection)


def _filled(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM graph_entities WHERE tenant_id <> ''").fetchone()
    return 0 if row is None else int(row[0])


def test_a_trigger_that_denies_one_row_by_the_code_of_a_missing_right_has_that_row_set_aside(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    _at_update(connection, _NOT_THIS_ONE, of_row=_BAD)
    with (
        filling(plan_of(sample, backfill=_CONTIGUOUS), valkey.url) as running,
        pytest.raises(QuarantineError),
    ):
        running.end()
    assert _unfilled(connection) == [_BAD]


def test_rows_that_cannot_have_their_tenant_are_set_aside_whatever_the_code_and_all_others_are_filled(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    codes = dict(zip(_FAR_APART, ("22012", "23514", "42883", "P0001", "T0001", "54000"), strict=True))
    _raise_at(connection, codes)
    with (
        filling(plan_of(sample, backfill=_CONTIGUOUS), valkey.url) as running,
        pytest.raises(QuarantineError),
    ):
        running.end()
    assert _unfilled(connection) == list(codes)
    aside = connection.execute("SELECT key[1], sqlstate, message FROM tenantry.quarantine ORDER BY key")
    assert aside.fetchall() == [(id_, code, "not this one") for id_, code in codes.items()]


@pytest.mark.parametrize(("halves_that_fail", "counted"), [(1, 2), (2, 50)])
def test_a_half_that_fails_counts_towards_the_stop_of_a_job_only_if_the_other_half_failed_too(
    halves_that_fail: int, counted: int, sample: str, valkey: EmbeddedValkey
) -> None:
    with _as_a_worker(plan_of(sample, backfill=_CONTIGUOUS), valkey.url) as (session, _, job):
        session.execute(
            "INSERT INTO tenantry.batches "
            "(job_id, origin, by, upper, state, split_from, finished_at, failed_at) "
            "SELECT %(job)s, 'plan', 'key', '{x}', 'done', nullif(pair, 25), now(), "
            "CASE WHEN half <= %(fail)s OR pair = 25 THEN now() END "
            "FROM generate_series(1, 25) AS pair, generate_series(1, 2) AS half",
            {"job": job.id, "fail": halves_that_fail},
        )
        (failing,) = send(session, JOBS.failing, job=job.id)
        assert (failing["touched"], failing["failed"]) == (50, counted)


def test_failures_that_pass_by_themselves_wait_are_shown_and_go_on_once_they_have_passed(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with _passing_failures(sample, connection, valkey.url) as (running, shown):
        assert {(one.batches, one.error) for one in shown} == {(1, "not this one")}
        assert all(one.next_try_at is not None and one.next_try_at > one.since for one in shown)
        connection.execute("DELETE FROM public.causes")
        running.end()
    assert _unfilled(connection) == []
    assert _states(connection) == {"done"}


def test_a_retry_lets_what_waits_go_at_once_whatever_it_waits_for(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with _passing_failures(sample, connection, valkey.url) as (running, _):
        connection.execute("DELETE FROM public.causes")
        connection.execute(
            "UPDATE tenantry.batches SET not_before = 'infinity' WHERE state = 'pending' AND attempts > 0"
        )
        with connect(sample, "retry") as session:
            jobs.release(session, ledger.read(session, "sample").id)
        running.end()
    assert _unfilled(connection) == []


def test_a_row_that_is_out_of_time_each_time_waits_alone_and_is_never_set_aside(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    _at_update(connection, "PERFORM pg_sleep(60)", of_row=_BAD)
    plan = plan_of(sample)
    with filling(plan, valkey.url) as running:
        until(lambda: _unfilled(connection) == [_BAD], "every other row filled", within=90)
        (waiting,) = until(lambda: _all_waiting(plan, {"57014"}), "the row among what waits")
        assert waiting.batches == 1
        connection.execute("DROP TRIGGER on_one_row ON graph_entities")
        running.end()
    assert _unfilled(connection) == []
    assert _states(connection) == {"done", "split"}


def test_a_batch_whose_backend_is_terminated_waits_says_so_and_goes_on(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "RING_AGAIN", 0.2)
    count_updates(connection, seconds_per_row=0.001)
    plan = plan_of(sample)
    with backfilling(plan, valkey.url) as running:

        def told() -> list[Waiting]:
            running.look.execute(_TERMINATE)
            return _all_waiting(plan, {"57P01"})

        (waiting,) = until(told, "a batch that lost its backend")
        assert waiting.error == "terminating connection due to administrator command"
        running.end()
    assert _states(connection) == {"done"}
    assert all((fewest, most) == (1, 1) for _, _, fewest, most in updates_per_row(connection))


_SET_ASIDE = rf"graph_entities id={_BAD}: not this one \[P0001 raised by a trigger or a function\], since \d"
_STOPPED = r"graph_entities stopped itself: \d+ of the last 50 batches failed: not this one; mend the cause"


@pytest.mark.parametrize(("of_row", "exit_status", "told"), [(_BAD, 4, _SET_ASIDE), (None, 1, _STOPPED)])
def test_after_the_cause_is_mended_a_retry_lets_the_run_fill_what_failed(
    *,
    of_row: str | None,
    exit_status: int,
    told: str,
    sample: str,
    connection: psycopg.Connection,
    tmp_path: Path,
) -> None:
    (tmp_path / "migration.toml").write_text(toml(plan_of(sample)))
    _at_update(connection, "RAISE EXCEPTION 'not this one'", of_row=of_row)
    assert _tenantry(tmp_path, "run", "--to", "backfill").returncode == exit_status
    *held, way_out = _tenantry(tmp_path, "quarantine").stdout.splitlines()
    assert [line for line in held if re.match(told, line)]
    assert way_out == "Mend the cause, then `tenantry retry` and `tenantry run`"
    shown = json.loads(_tenantry(tmp_path, "status", "--json").stdout)
    assert (shown["quarantine"], shown["tables"][0]["state"]) == (
        (1, "running") if of_row else (0, "stopped")
    )
    connection.execute("DROP TRIGGER on_one_row ON graph_entities")
    assert _tenantry(tmp_path, "retry").returncode == 0
    assert _tenantry(tmp_path, "run", "--to", "backfill").returncode == 0
    assert _tenantry(tmp_path, "quarantine").stdout == "nothing is held\n"
    assert _unfilled(connection) == []


def test_a_row_that_ends_its_backend_each_time_is_set_aside_and_all_others_are_filled(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "RING_AGAIN", 0.2)
    _at_update(connection, "PERFORM pg_terminate_backend(pg_backend_pid())", of_row=_BAD)
    with backfilling(plan_of(sample), valkey.url) as running, pytest.raises(QuarantineError, match=_BAD):
        running.end()
    assert _unfilled(connection) == [_BAD]


def test_batches_that_nobody_begins_are_rung_again_and_never_split(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "RING_LOST", 0.1)
    with backfilling(plan_of(sample), valkey.url, count=0) as running:
        most_rings = "SELECT max(rings) FROM tenantry.batches WHERE state = 'pending'"

        def rung_often() -> bool:
            row = connection.execute(most_rings).fetchone()
            return row is not None and (row[0] or 0) > 2 * backfill.LOST

        until(rung_often, "many rings that no worker hears")
        monkeypatch.undo()
        running.pool.resize(1)
        running.end()
    states = connection.execute("SELECT DISTINCT state FROM tenantry.batches").fetchall()
    assert states == [("done",)]


def test_every_row_without_a_tenant_is_set_aside_at_once_and_counted(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute(
        "INSERT INTO graph_entities (id, entity_type) "
        "SELECT 'homeless-' || n, 'x' FROM generate_series(1, 1500) AS n"
    )
    with (
        filling(plan_of(sample), valkey.url) as running,
        pytest.raises(QuarantineError, match="1500 row"),
    ):
        running.end()
    assert len(_unfilled(connection)) == 1_500
    filled = connection.execute("SELECT count(*) FROM graph_entities WHERE tenant_id <> ''").fetchone()
    assert filled == (SAMPLE_ENTITIES,)


def test_a_source_that_gives_the_sentinel_gives_no_tenant(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute(
        """UPDATE graph_entities SET properties = '{"org_id": "none"}' WHERE id = %s""", [_BAD]
    )
    plan = plan_of(sample, tenant={"sentinel": "none"})
    with filling(plan, valkey.url) as running, pytest.raises(QuarantineError, match=_BAD):
        running.end()
