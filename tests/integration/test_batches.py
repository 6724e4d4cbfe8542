"""What one batch does and leaves behind: in the table, in the ledger and in the log."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs

from control.conductor import settings_of
from sql.job import Moving, Range
from sql.postgres.batch import never_in_the_way
from sql.postgres.connection import Connection, connect
from sql.tenant_source import Expression
from tests.filled_table import spec_of_items
from tests.integration.migrated import plan
from worker import batch as batches
from worker import jobs, ledger, paging, version
from worker.batch import Done, Failed, Filling, NotMine
from worker.failure import Failure
from worker.jobs import Batch, Job

ROWS = 240
_TABLE = f"""
CREATE TABLE items (id integer PRIMARY KEY, body text NOT NULL, tenant_id text NOT NULL DEFAULT '');
CREATE TABLE causes (id integer PRIMARY KEY, code text NOT NULL);
CREATE FUNCTION failing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM causes WHERE id = NEW.id) THEN
        RAISE EXCEPTION 'not %', NEW.id USING ERRCODE = (SELECT code FROM causes WHERE id = NEW.id);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER failing BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION failing();
INSERT INTO items SELECT n, 'org-' || n % 3 FROM generate_series(1, {ROWS}) AS n;
"""
_SPEC = spec_of_items(source=Expression(expression="body"))


@dataclass(frozen=True)
class Bench:
    """A worker's session, with a table of 240 rows, its job and nothing planned yet."""

    session: Connection
    job: Job

    def planned(self, upper: int = ROWS, lower: int | None = None) -> Batch:
        """A batch of the rows up to and with `upper`."""
        below = None if lower is None else [str(lower)]
        range_ = Range(by="key", lower=below, upper=[str(upper)], stripe=None)
        (id_,) = jobs.add_batches(self.session, self.job.id, [range_], "plan")
        return self.read(id_)

    def read(self, id_: int) -> Batch:
        """A batch that is still to be done."""
        (batch,) = jobs.slice_of(self.session, id_, id_)
        return batch

    def run(self, batch: Batch, session: Connection | None = None) -> batches.Outcome:
        """Do it."""
        return batches.run(session or self.session, batch, Filling(self.job.table, self.job.spec))

    def fail(self, code: str, *rows: int) -> None:
        """Have the update of each of these rows fail."""
        for row in rows:
            self.session.execute("INSERT INTO causes VALUES (%s, %s)", [row, code])

    def asked(self, query: str, *values: Any) -> list[Any]:
        """What the database answers."""
        return self.session.execute(query.encode(), values or None).fetchall()

    @property
    def filled(self) -> int:
        """How many rows have their tenant."""
        return int(self.asked("SELECT count(*) FROM items WHERE tenant_id = body")[0][0])

    def pending(self) -> list[tuple[str | None, str]]:
        """The bounds of what is to be done."""
        return self.asked(
            "SELECT lower[1], upper[1] FROM tenantry.batches WHERE state = 'pending' ORDER BY id"
        )

    def attempt(self, batch: Batch) -> tuple[Any, ...]:
        """How often it failed, with what, and whether that counts."""
        attempt = "SELECT attempts, sqlstate, error, failed_at IS NOT NULL, state FROM tenantry.batches"
        (row,) = self.asked(f"{attempt} WHERE id = %s", batch.id)
        return tuple(row)


@pytest.fixture
def bench(database: str) -> Iterator[Bench]:
    """A worker's session at a job of its own."""
    with connect(database, "worker bench", lock_timeout_ms=100) as session:
        session.execute(_TABLE.encode())
        version.create(session)
        settings = settings_of(plan(), throttle=True)
        begun = ledger.begin(session, name="items", tables=["items"], original={}, settings=settings)
        jobs.add(
            session,
            begun.id,
            table="items",
            part="items",
            spec=_SPEC,
            last_key=[str(ROWS)],
            batch_rows=100,
            rows_total=ROWS,
            why="it is small",
        )
        (job,) = jobs.of_migration(session, begun.id)
        never_in_the_way(session)
        yield Bench(session, job)


def test_a_batch_says_how_many_rows_it_filled_and_the_seconds_that_they_took(bench: Bench) -> None:
    batch = bench.planned(100)
    outcome = bench.run(batch)
    ((took,),) = bench.asked("SELECT duration_ms FROM tenantry.batches WHERE id = %s", batch.id)
    assert outcome == Done(rows=100, seconds=took / 1000, rest=False, unlocked=False)
    assert bench.filled == 100


def test_a_batchs_statement_is_prepared_the_first_time_that_it_is_sent(bench: Bench) -> None:
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%UPDATE tenantry.batches%'"
    assert bench.asked(prepared) == [(0,)]
    bench.run(bench.planned(10))
    assert bench.asked(prepared) == [(1,)]
    removing = _SPEC.model_copy(update={"moving": Moving(assignment=1, step="remove", to="b", from_="")})
    batches.run(bench.session, bench.planned(20, 10), Filling("items", removing))
    assert bench.asked(prepared) == [(2,)]


def test_the_log_of_a_failed_batch_has_the_seconds_that_it_took(bench: Bench) -> None:
    bench.fail("23514", 1)
    bench.session.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;"
        "CREATE TRIGGER a_slow_one BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    batch, begun = bench.planned(1), time.perf_counter()
    with capture_logs() as logs:
        bench.run(batch)
    assert 0.02 <= logs[0]["seconds"] <= time.perf_counter() - begun + 0.001


def test_a_batch_that_fails_with_nothing_left_sets_nothing_aside_and_is_tried_again(bench: Bench) -> None:
    bench.session.execute(
        "UPDATE items SET tenant_id = body;"
        "CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        "CREATE TRIGGER never BEFORE UPDATE ON items EXECUTE FUNCTION never()"
    )
    assert bench.run(bench.planned(10)) == Failed(Failure.DATA, "P0001", again=True)
    assert bench.pending() == [(None, "10")]


def test_a_batch_that_is_done_or_that_another_is_at_is_nobody_elses(bench: Bench, database: str) -> None:
    batch = bench.planned()
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM tenantry.batches FOR UPDATE")
        assert bench.run(batch) == NotMine()
    assert isinstance(bench.run(batch), Done)
    assert bench.run(batch) == NotMine()


def test_a_batch_passes_over_a_locked_row_and_leaves_it_to_a_batch_of_the_same_range(
    bench: Bench, database: str
) -> None:
    batch = bench.planned(100, 10)
    with psycopg.connect(database) as shop:
        shop.execute("SELECT FROM items WHERE id = 50 FOR UPDATE")
        outcome = bench.run(batch)
    assert isinstance(outcome, Done)
    assert (outcome.rows, outcome.rest, outcome.unlocked) == (89, True, True)
    assert bench.pending() == [("10", "100")]


def test_a_batch_with_wrong_data_is_halved_and_its_attempt_is_on_record_and_in_the_log(bench: Bench) -> None:
    bench.fail("23514", 70)
    batch = bench.planned(100, 10)
    with capture_logs() as logs:
        assert bench.run(batch) == Failed(Failure.DATA, "23514", again=True)
    assert bench.pending() == [("10", "55"), ("55", "100")]
    assert bench.attempt(batch) == (1, "23514", "not 70", True, "split")
    assert bench.filled == 0
    failed, split = logs
    assert 0 <= failed.pop("seconds") < 60
    assert failed == {
        "event": "batch failed",
        "log_level": "warning",
        "batch": batch.id,
        "failure": "data",
        "sqlstate": "23514",
        "error": "not 70",
    }
    assert split == {"event": "batch split", "log_level": "info", "batch": batch.id, "rows": 90}


def test_a_batch_of_two_rows_is_halved_into_batches_of_one_each(bench: Bench) -> None:
    bench.fail("P0001", 12)
    assert bench.run(bench.planned(12, 10)) == Failed(Failure.DATA, "P0001", again=True)
    assert bench.pending() == [("10", "11"), ("11", "12")]


def test_a_single_row_with_wrong_data_is_set_aside_with_key_code_and_message(bench: Bench) -> None:
    bench.fail("P0001", 7)
    batch = bench.planned(7, 6)
    with capture_logs() as logs:
        assert bench.run(batch) == Failed(Failure.DATA, "P0001", again=False)
    aside = "SELECT batch_id, key, sqlstate, message FROM tenantry.quarantine"
    assert bench.asked(aside) == [(batch.id, ["7"], "P0001", "not 7")]
    assert bench.attempt(batch)[-1] == "quarantined"
    told = {"event": "row quarantined", "log_level": "warning", "batch": batch.id, "key": ["7"]}
    assert logs[1:] == [told]


def test_a_row_that_fails_with_a_code_of_refusals_is_set_aside_and_stops_no_job(bench: Bench) -> None:
    bench.fail("42703", 7)
    assert bench.run(bench.planned(7, 6)) == Failed(Failure.DATA, "42703", again=False)
    assert jobs.read(bench.session, bench.job.id).state == "running"


def test_a_batch_whose_failure_passes_waits_whole_and_does_not_count_as_failed(bench: Bench) -> None:
    bench.fail("53100", 7)
    batch = bench.planned(9)
    with capture_logs() as logs:
        assert bench.run(batch) == Failed(Failure.WAIT, "53100", again=True)
    assert bench.pending() == [(None, "9")]
    assert bench.attempt(batch) == (1, "53100", "not 7", False, "pending")
    assert [one["failure"] for one in logs] == ["wait"]


@pytest.mark.parametrize(("rows", "counts"), [(99, True), (100, True), (101, False)])
def test_a_batch_out_of_time_counts_as_failed_only_where_it_is_no_larger_than_the_smallest(
    bench: Bench, rows: int, *, counts: bool
) -> None:
    bench.fail("57014", 1)
    batch = bench.planned(rows)
    assert bench.run(batch) == Failed(Failure.TIMEOUT, "57014", again=True)
    assert bench.attempt(batch) == (1, "57014", "not 1", counts, "split")
    assert bench.pending() == [(None, str((rows + 1) // 2)), (str((rows + 1) // 2), str(rows))]


def test_a_single_row_out_of_time_waits_and_is_not_set_aside(bench: Bench) -> None:
    bench.fail("57014", 7)
    batch = bench.planned(7, 6)
    assert bench.run(batch) == Failed(Failure.TIMEOUT, "57014", again=True)
    assert bench.attempt(batch) == (1, "57014", "not 7", True, "pending")
    assert bench.asked("SELECT count(*) FROM tenantry.quarantine") == [(0,)]


def test_a_batch_whose_connection_is_gone_raises_and_says_nothing_to_the_ledger(
    bench: Bench, database: str
) -> None:
    batch = bench.planned()
    bench.session.execute(
        "CREATE OR REPLACE FUNCTION failing() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
    )
    with connect(database, "worker that is cut off") as cut, capture_logs() as logs:
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            bench.run(batch, cut)
        assert logs == []
    assert bench.attempt(batch) == (0, None, None, False, "pending")


def test_a_batch_that_the_client_refuses_waits_and_has_no_code(bench: Bench) -> None:
    batch = bench.planned(9)
    beyond = Range(by="key", lower=None, upper=["9\0"], stripe=None)
    assert bench.run(replace(batch, range=beyond)) == Failed(Failure.WAIT, "", again=True)
    (attempts, code, error, counts, state) = bench.attempt(batch)
    assert (attempts, code, counts, state) == (1, None, False, "pending")
    assert "NUL" in error


def test_a_batch_whose_rest_cannot_be_told_counts_and_says_so(bench: Bench) -> None:
    batch = bench.planned(9)
    no_key = Range(by="key", lower=None, upper=["nine"], stripe=None)
    with capture_logs() as logs:
        assert bench.run(replace(batch, range=no_key)) == Failed(Failure.DATA, "22P02", again=True)
    said = 'invalid input syntax for type integer: "nine"'
    assert bench.attempt(batch) == (1, "22P02", said, True, "pending")
    told = {"event": "what is left of a batch can't be told", "log_level": "warning"}
    assert logs[1:] == [told | {"batch": batch.id, "error": said}]


def test_a_batch_that_the_server_refuses_again_stops_its_job_and_says_why(bench: Bench) -> None:
    batch = bench.planned(100, 10)
    bench.session.execute("ALTER TABLE items RENAME COLUMN body TO text")
    with capture_logs() as logs:
        assert bench.run(batch) == Failed(Failure.REFUSED, "42703", again=True)
        assert [one["event"] for one in logs] == ["batch failed"]
        assert bench.run(batch) == Failed(Failure.REFUSED, "42703", again=True)
    assert bench.attempt(batch)[0] == 2
    assert bench.attempt(batch)[3:] == (False, "pending")
    job = jobs.read(bench.session, bench.job.id)
    assert job.state == "stopped"
    assert (job.reason or "").endswith("reads or writes what is not as it was when it was planned")
    told = {"event": "job stopped", "log_level": "warning", "table": "items", "reason": job.reason}
    assert logs[2:] == [told]


def test_a_batch_that_is_refused_for_a_moment_alone_stops_nothing_and_is_done(bench: Bench) -> None:
    batch = bench.planned(100, 10)
    bench.session.execute("ALTER TABLE items RENAME COLUMN body TO text")
    assert bench.run(batch) == Failed(Failure.REFUSED, "42703", again=True)
    assert jobs.read(bench.session, bench.job.id).state == "running"
    bench.session.execute("ALTER TABLE items RENAME COLUMN text TO body")
    assert isinstance(bench.run(batch), Done)


def test_a_job_that_was_complete_before_a_refusal_is_told_stays_so(bench: Bench) -> None:
    batch = bench.planned(100, 10)
    bench.session.execute("ALTER TABLE items RENAME COLUMN body TO text")
    bench.run(batch)
    jobs.set_state(bench.session, bench.job.id, "complete")
    assert bench.run(batch) == Failed(Failure.REFUSED, "42703", again=True)
    assert jobs.read(bench.session, bench.job.id).state == "complete"


class _Mended(psycopg.Connection[Any]):
    """A worker's session; what its statements name is there again once the server is asked of them."""

    def execute(self, query: Any, *arguments: Any, **options: Any) -> psycopg.Cursor[Any]:
        """Send it."""
        if isinstance(query, sql.Composable) and "tenantry batch.explain" in query.as_string():
            super().execute("CREATE FUNCTION named(text) RETURNS text LANGUAGE sql AS 'SELECT $1'")
        return super().execute(query, *arguments, **options)


def test_a_single_row_is_not_set_aside_where_its_batch_could_not_be_read_for_a_moment(
    bench: Bench, database: str
) -> None:
    batch = bench.planned(7, 6)
    filling = Filling("items", _SPEC.model_copy(update={"source": Expression(expression="named(body)")}))
    with _Mended.connect(database, autocommit=True) as session:
        assert batches.run(session, batch, filling) == Failed(Failure.WAIT, "42883", again=True)
        assert bench.attempt(batch)[3:] == (False, "pending")
        assert isinstance(batches.run(session, batch, filling), Done)


def test_held_rows_that_the_server_refuses_to_remove_stop_the_job(bench: Bench) -> None:
    removing = _SPEC.model_copy(update={"moving": Moving(assignment=1, step="remove", to="b", from_="")})
    batch = bench.planned(20, 10)
    bench.session.execute("ALTER TABLE items RENAME COLUMN tenant_id TO other")
    for _ in range(2):
        outcome = batches.run(bench.session, batch, Filling("items", removing))
        assert outcome == Failed(Failure.REFUSED, "42703", again=True)
    assert jobs.read(bench.session, bench.job.id).state == "stopped"


def test_a_batch_with_nothing_left_is_neither_halved_nor_set_aside(bench: Bench) -> None:
    batch = bench.planned(100)
    bench.session.execute("UPDATE items SET tenant_id = body")
    batches.give_up(bench.session, batch, bench.job.spec)
    assert bench.pending() == [(None, "100")]
    assert bench.asked("SELECT count(*) FROM tenantry.quarantine") == [(0,)]


_NO_OUTCOME = "no outcome: its worker or its backend died each time"


def test_a_batch_that_is_given_up_is_halved_and_counts_as_failed(bench: Bench) -> None:
    batch = bench.planned(100)
    batches.give_up(bench.session, batch, bench.job.spec)
    assert bench.attempt(batch) == (1, None, _NO_OUTCOME, True, "split")
    assert bench.pending() == [(None, "50"), ("50", "100")]


def test_a_single_row_that_is_given_up_is_set_aside_without_a_code(bench: Bench) -> None:
    batch = bench.planned(7, 6)
    batches.give_up(bench.session, batch, bench.job.spec)
    aside = "SELECT batch_id, key, sqlstate, message FROM tenantry.quarantine"
    assert bench.asked(aside) == [(batch.id, ["7"], "", _NO_OUTCOME)]


def test_a_group_is_planned_with_its_ranges_its_origin_and_where_it_got_to(bench: Bench) -> None:
    begun = bench.job
    ids = paging.plan_group(bench.session, begun, batch_rows=30)
    one = jobs.read(bench.session, begun.id)
    assert (one.planned_to, one.planned, one.batch_rows) == (["30"], False, 30)
    ids += paging.plan_group(bench.session, one, batch_rows=12)
    two = jobs.read(bench.session, begun.id)
    assert (two.planned_to, two.planned, two.batch_rows) == ([str(30 + 16 * 12)], False, 12)
    ids += paging.plan_group(bench.session, two, batch_rows=12)
    end = jobs.read(bench.session, begun.id)
    assert (end.planned_to, end.planned) == ([str(ROWS)], True)
    told = bench.asked(
        "SELECT id, job_id, origin, by, upper[1]::int, stripe FROM tenantry.batches ORDER BY id"
    )
    uppers = [30, *range(42, 30 + 16 * 12 + 1, 12), 234, ROWS]
    assert told == [
        (id_, begun.id, "plan", "key", upper, None) for id_, upper in zip(ids, uppers, strict=True)
    ]


def test_a_group_of_striped_ranges_is_four_of_so_many_batches_each_and_visited_by_stripe(
    bench: Bench,
) -> None:
    striped = _SPEC.model_copy(update={"paging": "striped", "stripes": 2})
    job = replace(bench.job, spec=striped, planned_to=["10"])
    paging.plan_group(bench.session, job, batch_rows=5)
    told = bench.asked("SELECT lower[1]::int, upper[1]::int, stripe FROM tenantry.batches ORDER BY id")
    bounds = [(10, 20), (20, 30), (30, 40), (40, 50)]
    assert told == [(*bound, stripe) for stripe in (0, 1) for bound in bounds]


def test_a_group_of_pages_is_planned_as_ranges_of_places(bench: Bench) -> None:
    by_pages = _SPEC.model_copy(update={"paging": "pages", "stripes": 2})
    job = replace(bench.job, spec=by_pages, last_key=paging.place(8))
    paging.plan_group(bench.session, job, batch_rows=45)
    told = bench.asked("SELECT by, lower[1], upper[1], stripe FROM tenantry.batches ORDER BY id")
    bounds = [(None, "(1,0)"), ("(1,0)", "(2,0)"), ("(2,0)", "(3,0)"), ("(3,0)", "(4,0)")]
    assert told == [("page", *bound, stripe) for stripe in (0, 1) for bound in bounds]


def test_rows_that_went_to_another_tenant_are_removed_where_they_were_but_for_those_that_somebody_holds(
    bench: Bench, database: str
) -> None:
    going = Moving(assignment=1, step="remove", to="b", from_="")
    spec = _SPEC.model_copy(update={"moving": going})
    noted = (
        "INSERT INTO tenantry.assigned SELECT 1, 'items', ARRAY[n::text] FROM generate_series(11, 14) AS n"
    )
    bench.session.execute(noted.encode())
    batch = bench.planned(13, 10)
    with psycopg.connect(database) as shop:
        shop.execute("SELECT FROM items WHERE id = 12 FOR UPDATE")
        outcome = batches.run(bench.session, batch, Filling("items", spec))
    assert isinstance(outcome, Done)
    assert (outcome.rows, outcome.rest, outcome.unlocked) == (2, False, False)
    assert bench.asked("SELECT id FROM items WHERE id BETWEEN 10 AND 15 ORDER BY id") == [
        (10,),
        (12,),
        (14,),
        (15,),
    ]


def test_the_frozen_bound_is_the_highest_key_or_the_end_of_the_pages_and_none_of_an_empty_table(
    bench: Bench,
) -> None:
    by_pages = _SPEC.model_copy(update={"paging": "pages"})
    assert paging.last_key(bench.session, _SPEC, 7) == [str(ROWS)]
    assert paging.last_key(bench.session, by_pages, 7) == ["(7,0)"]
    assert paging.last_key(bench.session, by_pages, 0) is None
    bench.session.execute("TRUNCATE items")
    assert paging.last_key(bench.session, _SPEC, 7) is None


def test_the_last_range_ends_at_the_frozen_bound_though_its_row_is_gone_and_others_came_beyond(
    bench: Bench,
) -> None:
    bench.session.execute("DELETE FROM items WHERE id = 240; INSERT INTO items VALUES (999, 'org-1')")
    near = replace(bench.job, planned_to=["200"])
    assert paging.uppers(bench.session, near, 20) == [["220"], ["240"]]
