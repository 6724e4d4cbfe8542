"""Whatever crashes, failures and operators do, each row of a file is written once and nothing is stuck."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control import steering
from control.completion import proved
from control.failing import stop_if_failing
from control.sqlite import conductor
from control.sqlite.filling import AHEAD, LOST, scan_of
from control.sqlite.stages import backfill
from sql.errors import GateClosedError, GivenWrongError, JobStoppedError, QuarantineError
from sql.ledger import JOBS, send
from sql.sqlite.connection import File
from tests.integration.modelled import BROKEN, ROWS, driven, gapless, walked
from tests.integration.sqlite.filled import made, plan_of
from worker import jobs, ledger
from worker.jobs import Job
from worker.sqlite import batch as batches
from worker.sqlite import paging

_ROW = st.integers(1, ROWS)
_TABLE = {"name": "items", "tenant": {"expression": "body->>'org'"}}


def _body(n: int) -> str:
    return f'{{"org": "org-{n % 3}"}}'


class _CrashError(Exception):
    """The end of a process before its commit."""


class Model(RuleBasedStateMachine):
    """Everything that may happen between the first batch and the last, in any order."""

    path: Path

    @initialize(broken=BROKEN, homeless=st.sets(_ROW, max_size=2), rows=st.integers(2, 9))
    def begin(self, broken: set[int], homeless: set[int], rows: int) -> None:
        for left in self.path.parent.glob(f"{self.path.name}*"):
            left.unlink()
        made(
            self.path,
            "CREATE TABLE items (id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
            "CREATE TABLE seen (id INTEGER NOT NULL)",
            *(f"INSERT INTO items VALUES ({n}, '{_body(n)}')" for n in range(1, ROWS + 1)),
        )
        self.guarded: set[tuple[int]] = set()
        self.plan_ = plan_of(self.path, [_TABLE])
        with conductor.controller(self.plan_) as file:
            conductor.run(self.plan_, file, to="columns", notify=lambda _line: None)
        self.file = File(self.path)
        self._put(dict.fromkeys(broken, "no json") | dict.fromkeys(homeless - broken, "{}"))
        self.file.execute(
            "CREATE TRIGGER counted AFTER UPDATE OF tenant_id ON items "
            "WHEN old.tenant_id IS NOT new.tenant_id BEGIN INSERT INTO seen VALUES (new.id); END"
        )
        migration = ledger.read(self.file, self.plan_.name)
        self.migration = migration.id
        ground = conductor.ground_of(self.plan_, self.file, migration, lambda _line: None)
        self.job_id = backfill._job_of(ground, self.plan_.table("items")).id
        self.plan(rows)

    def _put(self, bodies: dict[int, str]) -> None:
        """Let rows have what no preflight would let pass, and the write guard doesn't see."""
        triggers = self.asked("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        for name, _ in triggers:
            self.file.execute(f'DROP TRIGGER "{name}"')
        for row, body in bodies.items():
            self.file.execute("UPDATE items SET body = ? WHERE id = ?", [body, row])
        for _, made_by in triggers:
            self.file.execute(made_by)

    @precondition(lambda self: not self.job.planned)
    @rule(rows=st.integers(1, 9))
    def plan(self, rows: int) -> None:
        bounds = paging.next_bounds(self.file, self.job, rows, AHEAD)
        with self.file.transaction():
            paging.plan(self.file, self.job, bounds, batch_rows=rows)
            send(self.file, JOBS.count_settled, job=self.job_id)

    @precondition(lambda self: self.running)
    @rule(times=st.integers(1, 6) | st.just(60))
    def work(self, times: int) -> None:
        for _ in range(times):
            self._do(lambda: None)
        self._judge()

    @precondition(lambda self: self.running)
    @rule()
    def crash(self) -> None:
        def gone() -> None:
            raise _CrashError

        with suppress(_CrashError):
            self._do(gone)

    @rule(times=st.integers(1, LOST))
    def die(self, times: int) -> None:
        """Begin a batch, and be gone with no outcome."""
        for _ in range(times):
            if (batch := jobs.due(self.file, self.job_id)) is not None:
                batches.begin(self.file, batch)

    @rule()
    def give_up(self) -> None:
        for batch in jobs.lost(self.file, self.job_id, LOST - 1):
            batches.give_up(self.file, batch, self.job.spec)

    @rule(row=_ROW, guarded=st.booleans())
    def mend(self, row: int, *, guarded: bool) -> None:
        """Mend a row: the write guard gives it its tenant at once, or a batch will."""
        if guarded:
            self.guarded.add((row,))
            self._application("UPDATE items SET body = ? WHERE id = ? AND tenant_id IS NULL", _body(row), row)
        else:
            self._put({row: _body(row)})

    @rule(word=st.sampled_from([steering.pause, steering.cancel, steering.resume, steering.resume]))
    def steer(self, word: Callable[..., None]) -> None:
        with suppress(GivenWrongError, GateClosedError):
            word(self.plan_, self.file)

    @rule(rate=st.integers(1, 10**6))
    def tune(self, rate: int) -> None:
        steering.tune(self.plan_, self.file, {"rows_per_second": str(rate)})

    @rule()
    def retry(self) -> None:
        jobs.release(self.file, self.migration)

    @rule()
    def come_again(self) -> None:
        """Another process goes on."""
        self.file.close()
        self.file = File(self.path)

    @invariant()
    def no_row_is_written_twice(self) -> None:
        assert self.asked("SELECT id FROM seen GROUP BY id HAVING count(*) > 1") == []

    @invariant()
    def the_ledger_says_no_more_than_the_table_has(self) -> None:
        counts = (
            "SELECT (SELECT count(*) FROM items WHERE tenant_id IS NOT NULL), (SELECT count(*) FROM seen), "
            "(SELECT coalesce(sum(rows), 0) FROM tenantry_batches)"
        )
        ((filled, seen, told),) = self.asked(counts)
        # The write guard gives a row its tenant that the application mends.
        assert filled == seen >= told

    @invariant()
    def the_chain_has_no_gap(self) -> None:
        gapless(self.file, self.job)

    def teardown(self) -> None:
        """From wherever it got to, it comes to its end: once with what is broken aside, and once mended."""
        if not hasattr(self, "job_id"):
            return
        steering.resume(self.plan_, self.file)
        if not driven(self._step, self.file, self.job_id):
            without = "SELECT id FROM items WHERE tenant_id IS NULL ORDER BY id"
            aside = "SELECT CAST(key->>0 AS INTEGER) FROM tenantry_quarantine ORDER BY 1"
            # A row that got its tenant by the guard stays aside until the operator's `retry`.
            assert set(self.asked(without)) == set(self.asked(aside)) - self.guarded
            assert self.asked(aside) != []
        self._put({row: _body(row) for row in range(1, ROWS + 1)})
        jobs.release(self.file, self.migration)
        assert driven(self._step, self.file, self.job_id)
        assert self.asked("SELECT id FROM items WHERE tenant_id IS NOT 'org-' || (id % 3)") == []
        assert self.asked("SELECT count(*), count(DISTINCT id) FROM seen") == [(ROWS, ROWS)]
        gapless(self.file, self.job)
        self.file.close()

    def _step(self, job: Job) -> bool | None:
        """What the run does next; False where rows are set aside."""
        self.give_up()
        if job.state == "stopped":
            jobs.release(self.file, self.migration)
        elif not job.planned:
            self.plan(7)
        elif send(self.file, JOBS.pending, job=job.id)[0]["count"]:
            self.file.execute("UPDATE tenantry_batches SET not_before = NULL")  # for who waits long enough
            self._do(lambda: None)
        else:
            try:
                proved(self.file, self.migration, job, scan_of(self.file, job))
            except QuarantineError:
                return False
        return None

    def _do(self, before_commit: Callable[[], None]) -> None:
        """Do the batch that is due, as far as `before_commit` lets it come."""
        batch = jobs.due(self.file, self.job_id)
        if batch is not None:
            with self.file.transaction():
                batches.run(self.file, batch, self.job.spec, first=False)
                before_commit()

    def _judge(self) -> None:
        if self.job.state == "running":
            with suppress(JobStoppedError):
                stop_if_failing(self.file, self.job)

    def _application(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(statement, values)

    @property
    def job(self) -> Job:
        return jobs.read(self.file, self.job_id)

    @property
    def running(self) -> bool:
        return ledger.state(self.file, self.migration) == "running"

    def asked(self, query: str) -> list[tuple[Any, ...]]:
        return self.file.execute(query).fetchall()


def _at(path: Path) -> type[Model]:
    return type("Model", (Model,), {"path": path})


def test_a_few_ways_through_the_ledger_of_a_file_write_each_row_once_and_end(tmp_path: Path) -> None:
    walked(_at(tmp_path / "items.db"), examples=10)


@pytest.mark.full
@pytest.mark.timeout(3_000)
def test_many_ways_through_the_ledger_of_a_file_write_each_row_once_and_end(tmp_path: Path) -> None:
    walked(_at(tmp_path / "items.db"), examples=400, steps=60)
