"""Whatever workers, crashes, duplicates and operators do, each row is written once and nothing is stuck."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from psycopg import errors

from control import proof, steering
from control.failing import stop_if_failing
from control.plan.model import Plan
from control.stage import Ground
from control.stages.backfill import RING_LOST, jobs_of
from sql.errors import GivenWrongError, JobStoppedError, QuarantineError
from sql.ledger import JOBS, send
from sql.postgres.batch import never_in_the_way, range_parameters
from sql.postgres.connection import Connection, connect
from tests.integration.backfilling import prepared
from tests.integration.modelled import BROKEN, ROWS, driven, gapless, walked
from tests.waiting import until
from worker import batch as batches
from worker import jobs, ledger, paging
from worker.batch import Filling, NotMine
from worker.jobs import Batch, Job

LOST = 3
_SCHEMA = f"""
CREATE TABLE items (id int PRIMARY KEY, body text NOT NULL DEFAULT 'x');
CREATE TABLE broken (id int PRIMARY KEY);
CREATE TABLE homeless (id int PRIMARY KEY);
CREATE FUNCTION tenant_of(n int) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN
    IF EXISTS (SELECT FROM broken WHERE id = n) THEN RAISE EXCEPTION 'row % is broken', n; END IF;
    IF EXISTS (SELECT FROM homeless WHERE id = n) THEN RETURN NULL; END IF;
    RETURN 'org-' || n % 3;
END $$;
CREATE TABLE seen (id int NOT NULL);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO seen VALUES (new.id);
    RETURN NULL;
END $$;
INSERT INTO items SELECT n FROM generate_series(1, {ROWS}) AS n;
"""
_COUNT = """
CREATE TRIGGER counted AFTER UPDATE ON items FOR EACH ROW
WHEN (old.tenant_id IS DISTINCT FROM new.tenant_id) EXECUTE FUNCTION see()
"""
_AGAIN = f"""
DELETE FROM tenantry.jobs;
TRUNCATE items, seen, broken, homeless;
SET session_replication_role = replica;  -- the write guard gives new rows their tenant
INSERT INTO items SELECT n FROM generate_series(1, {ROWS}) AS n;
RESET session_replication_role;
"""
_ROW = st.integers(1, ROWS)
#: Which of what there is, in whatever number.
_CHOICE = st.integers(0, 10_000)


@dataclass
class World:
    """A database with a migration that is about to be filled, and the sessions of who works at it."""

    url: str
    plan: Plan
    ground: Ground
    worker: Connection
    patient: Connection
    """A worker that waits for locks as long as its statement may take."""
    application: Connection

    @property
    def session(self) -> Connection:
        """The controller's."""
        return self.ground.connection


@pytest.fixture
def world(database: str, request: pytest.FixtureRequest) -> Iterator[World]:
    """A world that is made once and begun anew for each way."""
    table = {"name": "items", "tenant": {"expression": "tenant_of(id)"}}
    plan = Plan.model_validate(
        {
            "name": "model",
            "database": {"url": database},
            "tables": [table],
            "backfill": {"first_batch": 100, "paging": request.param},
        }
    )
    with (
        connect(database, "controller", lock_timeout_ms=300) as session,
        connect(database, "worker model", lock_timeout_ms=100) as worker,
        connect(database, "worker patient") as patient,
        connect(database, "application") as application,
    ):
        session.execute(_SCHEMA.encode())
        ground = prepared(plan, session, "redis://127.0.0.1:1")
        session.execute(_COUNT.encode())
        for one in (worker, patient):
            never_in_the_way(one)
        yield World(database, plan, ground, worker, patient, application)


class Model(RuleBasedStateMachine):
    """Everything that may happen between the first batch and the last, in any order."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.heard: list[Batch] = []
        self.lost: list[Batch] = []
        self.under_way: list[Connection] = []
        self.locked = False

    @initialize(broken=BROKEN, homeless=st.sets(_ROW, max_size=2), rows=st.integers(2, 9))
    def begin(self, broken: set[int], homeless: set[int], rows: int) -> None:
        session = self.session
        session.execute(_AGAIN.encode())
        session.execute("INSERT INTO broken SELECT unnest(%s::int[])", [list(broken)])
        session.execute("INSERT INTO homeless SELECT unnest(%s::int[])", [list(homeless)])
        ledger.set_state(session, self.world.ground.migration, "running")
        table = self.world.plan.table("items")
        (job,) = jobs_of(self.world.ground, table, [self.world.ground.original.table("items")])
        self.job_id, self.filling = job.id, Filling(job.table, job.spec)
        self.plan(rows)
        self.hear()

    # What a controller does.

    @precondition(lambda self: self.running and not self.job.planned)
    @rule(rows=st.integers(1, 9))
    def plan(self, rows: int) -> None:
        paging.plan_group(self.session, self.job, batch_rows=rows)

    @precondition(lambda self: self.running)
    @rule(after=st.sampled_from([0.0, RING_LOST]))
    def ring(self, after: float) -> None:
        send(self.session, JOBS.ring, job=self.job_id, after=after, most=2000)

    @precondition(lambda self: self.lost)
    @rule(chosen=_CHOICE)
    def give_up(self, chosen: int) -> None:
        """Give up a batch that was lost when it was looked for, and may be done by now."""
        with suppress(errors.LockNotAvailable):
            batches.give_up(self.session, self.lost[chosen % len(self.lost)], self.job.spec)

    @precondition(lambda self: self.running and self.job.planned and not self.pending)
    @rule()
    def prove(self) -> None:
        if self.job.state == "running":
            with suppress(QuarantineError):
                proof.proved(self.session, self.world.ground.migration, self.job)
        send(self.session, JOBS.count_settled, job=self.job_id)

    # What workers do. What they have heard of may be old: a message waits, or comes twice.

    def hear(self) -> None:
        """Let workers hear of what is pending; what they heard of before they keep."""
        if pending := self.pending:
            self.heard += jobs.slice_of(self.session, min(pending), max(pending))
        self.lost += jobs.lost(self.session, self.job_id, LOST)

    @rule(choices=st.lists(_CHOICE, min_size=1, max_size=16), fresh=st.booleans())
    def work(self, choices: list[int], *, fresh: bool) -> None:
        if fresh:
            self.hear()
        for chosen in choices:
            outcome = batches.run(self.world.worker, self.heard[chosen % len(self.heard)], self.filling)
            assert self.running or isinstance(outcome, NotMine)
        if self.job.state == "running":
            with suppress(JobStoppedError):
                stop_if_failing(self.session, self.job)

    @rule(chosen=_CHOICE, times=st.integers(1, LOST))
    def die(self, chosen: int, times: int) -> None:
        """Begin a batch, and be gone with no outcome, each time that it is rung for."""
        for _ in range(times):
            with suppress(errors.LockNotAvailable):
                send(self.session, JOBS.begin, batch=self.heard[chosen % len(self.heard)].id)
            self.ring(0.0)
        self.hear()

    @precondition(lambda self: not self.locked and len(self.under_way) < 2)
    @rule(chosen=_CHOICE)
    def begin_work(self, chosen: int) -> None:
        """Do a batch, and be seen by the others before its commit."""
        batch = self.heard[chosen % len(self.heard)]
        session = connect(self.world.url, "worker under way", lock_timeout_ms=100)
        session.execute("BEGIN")
        try:
            done = session.execute(*self._statement(batch)).fetchone()
        except psycopg.Error:
            done = None
        if done is None:
            session.close()
        else:
            self.under_way.append(session)
            # A message that comes twice waits for nobody.
            assert isinstance(batches.run(self.world.patient, batch, self.filling), NotMine)

    @precondition(lambda self: self.under_way)
    @rule(how=st.sampled_from(["commit", "terminate", "close"]))
    def end_work(self, how: str) -> None:
        session = self.under_way.pop(0)
        pid = session.info.backend_pid
        if how == "commit":
            session.execute("COMMIT")
        elif how == "terminate":
            self.asked("SELECT pg_terminate_backend(%s)", pid)
        session.close()
        gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
        until(lambda: self.asked(gone, pid)[0][0], "the end of a session")

    # What others do.

    @precondition(lambda self: not self.locked and not self.under_way)
    @rule(row=_ROW)
    def lock_a_row(self, row: int) -> None:
        self.world.application.execute("BEGIN")
        self.world.application.execute("SELECT FROM items WHERE id = %s FOR UPDATE", [row])
        self.locked = True

    @precondition(lambda self: self.locked)
    @rule()
    def let_go(self) -> None:
        self.world.application.execute("COMMIT")
        self.locked = False

    @rule(word=st.sampled_from([steering.pause, steering.cancel, steering.resume]), choice=_CHOICE)
    def steer(self, word: Any, choice: int) -> None:
        with suppress(GivenWrongError):
            word(self.world.plan, self.session)
        self.work([choice, choice + 1], fresh=True)

    @rule(what=st.sampled_from(["mend", "mend all", "tune", "retry"]), row=_ROW)
    def operate(self, what: str, row: int) -> None:
        if what == "mend":
            self.session.execute("DELETE FROM broken WHERE id = %s", [row])
        elif what == "mend all":
            self.session.execute("DELETE FROM broken")
        elif what == "tune":
            rate, length = str(row * 100), "20ms" if row % 2 else ""
            steering.tune(self.world.plan, self.session, {"rows_per_second": rate, "target": length})
        else:
            with suppress(errors.LockNotAvailable):
                jobs.release(self.session, self.world.ground.migration)

    # What holds.

    @invariant()
    def no_row_is_written_twice(self) -> None:
        twice = "SELECT id FROM seen GROUP BY id HAVING count(*) > 1"
        assert self.asked(twice) == []

    @invariant()
    def the_ledger_says_what_the_table_has(self) -> None:
        counts = (
            "SELECT (SELECT count(*) FROM items WHERE tenant_id <> ''), (SELECT count(*) FROM seen), "
            "(SELECT coalesce(sum(rows), 0) FROM tenantry.batches)"
        )
        ((filled, seen, told),) = self.asked(counts)
        assert filled == seen == told

    @invariant()
    def the_chain_has_no_gap(self) -> None:
        gapless(self.session, self.job)

    def teardown(self) -> None:
        """From wherever it got to, it comes to its end: once with what is broken aside, and once mended."""
        if not hasattr(self, "job_id"):
            return
        while self.under_way:
            self.end_work("close")
        if self.locked:
            self.let_go()
        steering.resume(self.world.plan, self.session)
        if not driven(self._step, self.session, self.job_id):
            without = "SELECT id::text FROM items WHERE tenant_id = '' ORDER BY items.id"
            aside = "SELECT key[1] FROM tenantry.quarantine ORDER BY key[1]::int"
            assert self.asked(without) == self.asked(aside) != []
        self.session.execute("TRUNCATE broken, homeless")
        jobs.release(self.session, self.world.ground.migration)
        assert driven(self._step, self.session, self.job_id)
        wrong = "SELECT id FROM items WHERE tenant_id IS DISTINCT FROM 'org-' || id % 3"
        assert self.asked(wrong) == []
        assert self.asked("SELECT count(*), count(DISTINCT id) FROM seen") == [(ROWS, ROWS)]
        self.the_ledger_says_what_the_table_has()
        gapless(self.session, self.job)

    def _step(self, job: Job) -> bool | None:
        """What a controller and a worker do next; False where rows are set aside."""
        if job.state == "stopped":
            jobs.release(self.session, self.world.ground.migration)
        elif not job.planned:
            self.plan(7)
        elif pending := self.pending:
            send(self.session, JOBS.ring, job=job.id, after=0, most=2000)
            for batch in jobs.slice_of(self.session, min(pending), max(pending)):
                batches.run(self.world.worker, batch, self.filling)
        else:
            try:
                proof.proved(self.session, self.world.ground.migration, job)
            except QuarantineError:
                return False
        return None

    def _statement(self, batch: Batch) -> tuple[bytes, dict[str, Any]]:
        shape = batch.range.shape
        parameters = {"batch": batch.id, **range_parameters(batch.range)}
        return self.filling.statement(shape, unlocked=False), parameters

    @property
    def session(self) -> Connection:
        return self.world.session

    @property
    def job(self) -> Job:
        return jobs.read(self.session, self.job_id)

    @property
    def running(self) -> bool:
        return ledger.state(self.session, self.world.ground.migration) == "running"

    @property
    def pending(self) -> list[int]:
        pending = "SELECT id FROM tenantry.batches WHERE job_id = %s AND state = 'pending'"
        return [row[0] for row in self.asked(pending, self.job_id)]

    def asked(self, query: str, *values: Any) -> list[Any]:
        return self.session.execute(query.encode(), values or None).fetchall()


@pytest.mark.parametrize("world", ["contiguous", "striped"], indirect=True)
def test_a_few_ways_through_the_ledger_write_each_row_once_and_end(world: World) -> None:
    walked(lambda: Model(world), examples=25)


@pytest.mark.full
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("world", ["contiguous", "striped", "pages"], indirect=True)
def test_many_ways_through_the_ledger_write_each_row_once_and_end(world: World) -> None:
    walked(lambda: Model(world), examples=400, steps=60)
