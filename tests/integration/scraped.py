"""A whole migration under Prometheus, in which everything happens that a dashboard or an alert is about.

Two pools of workers fill the sample graph while the demo's application works on it, and a standby follows.
Nothing is left to chance or to time: whatever is to be seen is held until Prometheus has a sample of it.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr

from control.demo import sample
from control.demo.application_process import ApplicationProcess
from control.demo.messages import Settings
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.proposal import propose
from sql.postgres.connection import connect
from tests.integration.addresses import free_port
from tests.integration.operating import TENANTRY, Operator
from tests.integration.policed import read_and_report
from tests.integration.prometheus import Prometheus, prometheus
from tests.integration.standby import Standby, standby
from tests.integration.stationed import GO, HOLD, OPEN
from tests.servers import start_postgres
from tests.waiting import until

MIGRATION = "multi-tenancy"
#: The table to which everything happens.
TABLE = "graph_entities"

ENTITIES = 40_000

#: So that there is an archive that fails.
_SETTINGS = {"fsync": "off", "shared_buffers": "128MB", "archive_mode": "on", "archive_command": "false"}

#: A limit and a stop for every signal: the defaults, and others where there is none or it would be reached.
_GOVERNOR = """
[governor]
rows_per_second = 2000
max_archive_failing = "1h"
stop_archive_failing = "6h"
max_wal_rate = "100MB"
stop_wal_rate = "1GB"
max_query = 5
stop_query = 10
query = "SELECT n FROM public.knob"
stop_batch = "5s"
"""

#: Rows that no worker can update: one that may pass by itself, and one that is to be set aside.
_FAULTS = f"""
CREATE TABLE public.faults AS
    VALUES ('{sample.entity_key(2_000)}', '40001'), ('{sample.entity_key(20_000)}', '23514');
CREATE FUNCTION public.fault() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE fault text := (SELECT column2 FROM public.faults WHERE column1 = NEW.id);
BEGIN
    IF fault IS NOT NULL AND current_setting('application_name') LIKE 'tenantry worker %' THEN
        RAISE EXCEPTION 'not this one' USING ERRCODE = fault;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fault BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION public.fault();
"""
_MEND = "DELETE FROM public.faults WHERE column2 = %s"
_WRITE = f"UPDATE {TABLE} SET updated_at = updated_at WHERE id = '{sample.entity_key(9)}'"

#: A build of an index on the table that has done enough to tell its end, and waits for nobody.
_BUILDS = f"""
SELECT pid FROM pg_stat_progress_create_index
WHERE relid = '{TABLE}'::regclass AND phase ~ 'loading tuples|^index validation' AND phase !~ 'scanning index'
"""


@dataclass(frozen=True, slots=True)
class Scraped:
    """What is known of it afterwards: Prometheus, and from when to when."""

    prometheus: Prometheus
    begun: float
    ended: float


@contextmanager
def migrated(program: str, folder: Path, valkey: EmbeddedValkey) -> Iterator[Scraped]:
    """Go through it; `program` is Prometheus, which runs as long as the context lasts."""
    ports = [free_port() for _ in range(3)]
    with ExitStack() as stack:
        server = stack.enter_context(start_postgres(settings=_SETTINGS))
        _fill(server)
        replica = stack.enter_context(standby(server, "replica", slot=True))
        operator = Operator(folder, server.url(), server, valkey.url)
        _plan(operator)
        for arguments in (
            ("exporter", "--port", str(ports[0])),
            *(("worker", "--metrics-port", str(port)) for port in ports[1:]),
        ):
            stack.enter_context(_service(operator, *arguments))
        scraped = stack.enter_context(
            prometheus(program, folder, {"tenantry-exporter": ports[:1], "tenantry-worker": ports[1:]})
        )
        scraped.sees("tenantry_up == 1")
        scraped.sees("count(tenantry_worker_messages_total) == 2")
        begun = time.time()
        application = stack.enter_context(ApplicationProcess(_application(server, folder)))
        with psycopg.connect(server.url(), autocommit=True, application_name="reporting") as session:
            _as_far_as_the_gate(operator, scraped, session, replica)
            application.switch("new")
            _to_the_end(operator, scraped)
        application.stop()
        yield Scraped(scraped, begun, time.time())


def _fill(server: EmbeddedPostgres) -> None:
    with connect(server.url(), "test") as connection:
        sample.create(connection)
        sample.fill(connection, entities=ENTITIES)


def _plan(operator: Operator) -> None:
    with connect(operator.url, "init") as connection:
        proposed = propose(connection, url="env:DATABASE_URL")
        connection.execute(_FAULTS.encode())
        connection.execute(OPEN.encode())
    operator.plan.write_text(
        proposed.replace('quiet = "10m"', 'quiet = "3s"')
        + f'[backup]\npath = "backups/graph.dump"\n[redis]\nurl = "{operator.queue}"\n'
        + _GOVERNOR
    )


def _application(server: EmbeddedPostgres, folder: Path) -> Settings:
    url = SecretStr(server.url("postgres", "graph_app"))
    return Settings(url=url, folder=folder / "journal", entities=ENTITIES, connections=2, rate=100)


@contextmanager
def _service(operator: Operator, *arguments: str) -> Iterator[None]:
    with (operator.folder / f"{arguments[0]}.log").open("ab") as log:
        process = subprocess.Popen(
            [TENANTRY, *arguments], cwd=operator.folder, env=operator.environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def _as_far_as_the_gate(
    operator: Operator, scraped: Prometheus, session: psycopg.Connection, replica: Standby
) -> None:
    """Preflight to application: a failure, rows in quarantine, holds, a pause, an index that waits."""
    backups = operator.folder / "backups"
    backups.mkdir()
    operator.done("run", "--to", "preflight")
    backups.rmdir()
    assert operator.tenantry("run", "--to", "backup").returncode != 0
    scraped.sees('tenantry_stage_state{stage="backup",state="failed"}')
    backups.mkdir()
    operator.done("run", "--to", "backup")
    _behind_a_reader(operator, scraped, "columns")
    session.execute("SELECT pg_switch_wal()")

    with operator.started("run", "--to", "backfill") as backfill:
        scraped.sees(f'tenantry_worker_failures_total{{table="{TABLE}"}}')
        scraped.sees("tenantry_batches_waiting > 0")
        session.execute(HOLD.encode())
        scraped.sees("tenantry_held and on (migration) tenantry_workers_holding > 0")
        scraped.sees('tenantry_governor_zone{zone="hold"} == 1')
        session.execute(GO.encode())
        session.execute(_MEND, ["40001"])
        scraped.sees('tenantry_governor_zone{zone="hold"} == 0')
        operator.done("pause")
        scraped.sees('tenantry_migration_state{state="paused"}')
        operator.done("resume")
        replica.pause()
        scraped.sees('tenantry_held{reason="replica lag in seconds"}')
        replica.resume()
        operator.done("tune", "rows_per_second=5000")
        assert backfill.wait(120) == 4
    scraped.sees("tenantry_quarantine_rows > 0")
    session.execute(_MEND, ["23514"])
    operator.done("retry")
    operator.done("run", "--to", "backfill")
    scraped.sees("tenantry_quarantine_rows == 0")

    _indexes(operator, scraped, session)
    assert operator.tenantry("run").returncode == 3
    scraped.sees('tenantry_gate_closed{stage="application"}')


def _indexes(operator: Operator, scraped: Prometheus, session: psycopg.Connection) -> None:
    """The first build waits for a writer, and one is stopped half way, until Prometheus has seen both."""
    with _held(operator.url, _WRITE) as writer, operator.started("run", "--to", "indexes") as indexes:
        scraped.sees(f'tenantry_index_build_waiting{{table="{TABLE}"}} == 1')
        writer.rollback()
        builder = until(lambda: _building(session), "a build half way")
        assert builder is not None
        os.kill(builder[0], signal.SIGSTOP)
        try:
            scraped.sees(f'tenantry_index_build_eta_seconds{{table="{TABLE}"}}')
        finally:
            os.kill(builder[0], signal.SIGCONT)
        assert indexes.wait(120) == 0


def _building(session: psycopg.Connection) -> tuple[Any, ...] | None:
    """The builder, half way: that lasts hundredths of a second on a quiet machine, so ask and ask."""
    asked = (session.execute(_BUILDS.encode()).fetchone() for _ in range(1_000))
    return next((found for found in asked if found is not None), None)


def _to_the_end(operator: Operator, scraped: Prometheus) -> None:
    """Keys to verify: locks that wait for a reader, and somebody without a tenant."""
    operator.done("confirm", "application")
    _behind_a_reader(operator, scraped, "keys")
    with (
        psycopg.connect(operator.server.url("postgres", "graph_app"), autocommit=True) as stranger,
        operator.started("run") as rest,
    ):
        scraped.sees('tenantry_stage_state{stage="rls",state=~"running|waiting"}')

        def counted() -> bool:
            read_and_report(stranger)
            return bool(scraped.now("tenantry_unscoped_accesses_total > 0"))

        until(counted, "an access without a tenant to be counted and seen")
        rest.wait(120)
    until(lambda: operator.tenantry("run").returncode == 0, "the end of the migration", within=120)
    scraped.sees('tenantry_migration_state{state="complete"}')
    scraped.sees('tenantry_stage_finished_timestamp_seconds{stage="verify"}')


def _behind_a_reader(operator: Operator, scraped: Prometheus, stage: str) -> None:
    """A stage whose locks wait for a reader."""
    lock = f"LOCK TABLE {TABLE} IN ACCESS SHARE MODE"
    with _held(operator.url, lock) as reader, operator.started("run", "--to", stage) as run:
        scraped.sees(f'tenantry_stage_state{{stage="{stage}",state="running"}}')
        reader.rollback()
        assert run.wait(60) == 0


@contextmanager
def _held(url: str, statement: str) -> Iterator[psycopg.Connection]:
    """A transaction of somebody else's, open after a statement until it is rolled back."""
    with psycopg.connect(url, application_name="somebody") as session:
        session.execute(statement.encode())
        yield session
