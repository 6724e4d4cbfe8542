"""Small migrations of a server in a row: to the end and back, or into trouble, each with its own tables."""

import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import sql

from tests.integration.finished import operate
from tests.integration.operating import Operator
from tests.integration.typist import typed
from tests.waiting import until

#: Exit statuses: done, waits for a word, has rows in quarantine.
DONE, WAITS, SET_ASIDE = 0, 3, 4

#: Tables come and go under as many names as an application might have, for each name is a series for ever.
_NAMES = 6
_PAGING = ("pages", "striped", "contiguous", "auto")
_ENTITIES = 300
_KILL_WITHIN = "TENANTRY_TEST_KILLED_WITHIN"
_PATIENCE = 60.0

_TABLES = """
CREATE TABLE account_{n} (id bigint PRIMARY KEY, org text NOT NULL, note text);
INSERT INTO account_{n} SELECT n, 'org-' || n % 7, md5(n::text) FROM generate_series(1, {entities}) AS n;
CREATE TABLE entry_{n} (id bigint PRIMARY KEY, account bigint NOT NULL REFERENCES account_{n}, note text)
    {parts};
{partitions}
INSERT INTO entry_{n} SELECT n, n % {entities} + 1, md5(n::text) FROM generate_series(1, 2 * {entities}) AS n;
"""
_PARTITION = (
    "CREATE TABLE entry_{n}_{part} PARTITION OF entry_{n} FOR VALUES WITH (MODULUS 3, REMAINDER {part});"
)
_FAULT = """
CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id % 150 = 0 AND current_setting('application_name') LIKE 'tenantry worker %' THEN
        RAISE EXCEPTION 'not this one';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fault BEFORE UPDATE ON account_{n} FOR EACH ROW EXECUTE FUNCTION fault();
"""
#: `rls` is a line of the first table, or nothing.
PLAN = """
name = "{name}"
[database]
url = "env:DATABASE_URL"
[redis]
url = "{queue}"
[tenant]
sentinel = "null"
[backfill]
paging = "{paging}"
first_batch = 100
[verify]
quiet = "0s"
[[tables]]
name = "account_{n}"
tenant = {{ expression = "org" }}
primary_key = ["id", "tenant_id"]
indexes = [{{ name = "account_{n}_tenant", columns = ["tenant_id"] }}]
{rls}
[[tables]]
name = "entry_{n}"
tenant = {{ parent = "account_{n}", on = {{ account = "id" }} }}
primary_key = ["id", "tenant_id"]
"""
_DONE = "SELECT count(*) FROM tenantry.batches WHERE state = 'done'"
_ON_RECORD = "SELECT count(*) FROM tenantry.migrations WHERE name = 'soak'"


def kill_soon() -> None:
    """In the process of a command: SIGKILL within the milliseconds that the environment names."""
    within = float(os.environ[_KILL_WITHIN]) / 1000
    timer = threading.Timer(within, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()


@dataclass
class Churn:
    """An operator's migrations, of the name that the workers wait for; `strike` kills one of the workers."""

    operator: Operator
    strike: Callable[[], None]
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    killed: int = 0

    def migrate(self, nth: int) -> None:
        """The `nth` migration, from tables that are made for it until they are dropped."""
        ways = (
            self._whole,
            self._into_quarantine,
            self._whole,
            self._paused,
            self._cancelled,
            self._whole,
            self._with_controllers_killed,
            self._to_and_fro,
            self._elsewhere,
            self._with_a_worker_killed,
        )
        way = ways[nth % len(ways)]
        if way == self._elsewhere:
            self._elsewhere(nth)
            return
        self._make(nth, "soak")
        way(nth)
        self._back()
        self._drop(nth)

    def _make(self, nth: int, name: str) -> None:
        n = nth % _NAMES
        parted = n == _NAMES - 1
        parts = [_PARTITION.format(n=n, part=part) for part in range(3)] if parted else []
        self._do(
            _TABLES.format(
                n=n,
                entities=_ENTITIES,
                parts="PARTITION BY HASH (id)" if parted else "",
                partitions="\n".join(parts),
            )
        )
        strict = nth % 2
        rls = f'rls = {{ policy = "ours_{n}", mode = "strict", quiet = "0s" }}' if strict else ""
        paging = _PAGING[nth // 3 % len(_PAGING)]
        text = PLAN.format(name=name, queue=self.operator.queue, paging=paging, n=n, rls=rls)
        self.operator.plan.write_text(text)

    def _drop(self, nth: int) -> None:
        n = nth % _NAMES
        self._do(f"DROP TABLE entry_{n}, account_{n}; DROP FUNCTION IF EXISTS fault")

    def _do(self, statements: str) -> None:
        with psycopg.connect(self.operator.url, autocommit=True) as connection:
            connection.execute(statements.encode())

    def _type(self, status: int, *arguments: str) -> None:
        ended = self.operator.tenantry(*arguments)
        assert ended.returncode == status, f"{arguments}: {ended.returncode}, {ended.stderr}"

    def _there(self, *more: str) -> None:
        self._type(WAITS, "run", *more)
        self._type(DONE, "confirm", "application")
        self._type(DONE, "run", *more)

    def _back(self) -> None:
        self._type(DONE, "rollback", "--yes")

    def _whole(self, nth: int) -> None:
        """With the governor every other time."""
        self._there(*(["--no-throttle"] if nth % 4 else []))

    def _into_quarantine(self, nth: int) -> None:
        self._do(_FAULT.format(n=nth % _NAMES))
        self._type(SET_ASIDE, "run", "--no-throttle")
        self._do("DROP FUNCTION fault CASCADE")
        self._type(DONE, "retry")
        self._there()

    def _paused(self, _nth: int) -> None:
        """While batches are done, and then before a run."""
        self._type(DONE, "run", "--to", "columns")
        self._type(DONE, "tune", "rows_per_second=400")
        with self.operator.started("run", "--to", "backfill") as run:
            until(lambda: self.operator.count(_DONE) or run.poll() is not None, "a batch", within=_PATIENCE)
            if run.poll() is None:
                self.operator.tenantry("pause")
                self._type(DONE, "tune", "rows_per_second=")
                self.operator.tenantry("resume")
            run.wait(_PATIENCE)
        self._type(DONE, "pause")
        self._type(WAITS, "run")
        self._type(DONE, "resume")

    def _cancelled(self, _nth: int) -> None:
        self._type(DONE, "run", "--to", "columns")
        self._type(DONE, "cancel")
        self._type(WAITS, "run")
        self._type(DONE, "resume")
        self._type(DONE, "run", "--to", "backfill")

    def _with_controllers_killed(self, _nth: int) -> None:
        """On the way there, and on the way back."""
        for arguments in (("run", "--workers", "1"), ("run",), ("run",), ("run", "--to", "indexes")):
            self._killed(*arguments)
        self._type(DONE, "run", "--to", "indexes")
        self._killed("rollback", "--yes")
        if not self.operator.count(_ON_RECORD):
            self._type(DONE, "run", "--to", "columns")  # it was quicker

    def _killed(self, *arguments: str) -> None:
        within = {_KILL_WITHIN: str(self.chance.randint(30, 1_200))}
        ended = typed(
            arguments,
            folder=self.operator.folder,
            environment=self.operator.environment | within,
            first="tests.soak.churn:kill_soon",
        )
        self.killed += ended.returncode == -signal.SIGKILL

    def _to_and_fro(self, _nth: int) -> None:
        self._there("--no-throttle")
        self._type(DONE, "rollback", "--yes", "--to", "columns")
        self._type(DONE, "run", "--to", "backfill")

    def _with_a_worker_killed(self, _nth: int) -> None:
        self._type(DONE, "run", "--to", "columns")
        self.strike()
        self._there()

    def _elsewhere(self, nth: int) -> None:
        """In a database of its own, under a name of its own, with a worker of its own."""
        name = f"elsewhere_{nth}"
        operate(self.operator.server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        there = replace(self, operator=replace(self.operator, url=self.operator.server.url(name)))
        there._make(nth, name)
        there._there("--workers", "1")
        there._back()
        operate(self.operator.server, sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
