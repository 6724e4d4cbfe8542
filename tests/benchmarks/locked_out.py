"""DDL that wants its lock while others have the table: how long the application behind it stands still.

One is a session that has read the table and holds on to its transaction; the other is an autovacuum, a real
one, that its cost delay keeps at work. The DDL is the stage `columns`, by the conductor.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from control import conductor
from control.embedded.valkey import start_valkey
from control.plan.model import Plan
from control.queue import namespace_of
from sql.postgres.connection import Connection
from tests.benchmarks.application import RATE, applied
from tests.benchmarks.backfills import TENANT
from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.governed import ROWS, shown
from tests.benchmarks.tables import Tables
from tests.waiting import until
from worker.broker import Doorbell, doorbell

LOCKED, VACUUMED = "governor-lock", "governor-autovacuum"
#: Seconds for which the session holds its lock.
_HELD = 10.0

#: A vacuum of a few pages a second, of a table with dead rows, looked for every second.
_NEVER_ENDING = (
    "ALTER TABLE big SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 10, "
    "autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0)"
)
_DEAD_ROWS = "UPDATE big SET created_at = now() WHERE id <= 'entity-0000100000'"
_AT_WORK = (
    "SELECT pid FROM pg_stat_progress_vacuum JOIN pg_stat_activity USING (pid) "
    "WHERE relid = 'big'::regclass AND backend_type = 'autovacuum worker'"
)


def behind_a_session(tables: Tables) -> list[Figure]:
    """A session holds ACCESS SHARE for ten seconds, the DDL wants ACCESS EXCLUSIVE from its first on."""
    url = _without_the_column(tables)
    with (
        _to_the_columns(url) as (plan, connection, bell),
        psycopg.connect(url) as session,
        applied(url, ROWS) as application,
    ):
        session.execute("LOCK TABLE big IN ACCESS SHARE MODE")
        begun = time.time()
        release = threading.Timer(_HELD, session.commit)
        release.start()
        conductor.run(plan, connection, bell, to="columns", notify=lambda _line: None)
        ended = time.time()
        release.join()
        felt = application.stop().between(begun, ended)
    says = f"DDL behind a session that holds the table for {_HELD:.0f} s, {RATE}/s"
    values = {
        Bar("longest stall, ms", must=600.0, at_most=True): felt.longest * 1000,
        Bar("errors", must=0.0, at_most=True): len(felt.errors),
        # 60 s is the longest that it waits between two attempts.
        Bar("seconds from the session's end to the DDL's", must=60.0, at_most=True): ended - begun - _HELD,
        **shown("meanwhile", felt),
    }
    return [Figure(LOCKED, says, bar, (value,)) for bar, value in values.items()]


def behind_an_autovacuum(tables: Tables) -> list[Figure]:
    """An autovacuum is at work on the table when the DDL begins."""
    url = _without_the_column(tables)
    with (
        psycopg.connect(url, autocommit=True) as look,
        _vacuumed_every_second(look),
        _to_the_columns(url) as (plan, connection, bell),
    ):
        look.execute(_NEVER_ENDING)
        look.execute(_DEAD_ROWS)
        with applied(url, ROWS) as application:
            until(lambda: look.execute(_AT_WORK).fetchone(), "an autovacuum at work on the table", within=120)
            begun = time.time()
            conductor.run(plan, connection, bell, to="columns", notify=lambda _line: None)
            ended = time.time()
            felt = application.stop().between(begun, ended)
    says = f"DDL on a table that an autovacuum is at work on, {RATE}/s"
    values = {
        Bar("seconds to the DDL's end", must=5.0, at_most=True): ended - begun,
        Bar("longest stall, ms", must=100.0, at_most=True): felt.longest * 1000,
        Bar("errors", must=0.0, at_most=True): len(felt.errors),
        **shown("meanwhile", felt),
    }
    return [Figure(VACUUMED, says, bar, (value,)) for bar, value in values.items()]


def _without_the_column(tables: Tables) -> str:
    url = tables.big("ordered", ROWS)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE big DROP COLUMN tenant_id")
    return url


@contextmanager
def _to_the_columns(url: str) -> Iterator[tuple[Plan, Connection, Doorbell]]:
    """A migration whose next stage is `columns`."""
    plan = Plan.model_validate(
        {
            "name": "bench",
            "database": {"url": url},
            "tables": [{"name": "big", "tenant": {"expression": TENANT}}],
        }
    )
    with ExitStack() as stack:
        queue = stack.enter_context(start_valkey())
        connection = stack.enter_context(conductor.controller(plan))
        bell = doorbell(queue.url, namespace_of(plan))
        stack.callback(bell.client.close)
        conductor.run(plan, connection, bell, to="backup", notify=lambda _line: None)
        yield plan, connection, bell


@contextmanager
def _vacuumed_every_second(connection: psycopg.Connection) -> Iterator[None]:
    connection.execute("ALTER SYSTEM SET autovacuum_naptime = 1")
    connection.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        connection.execute("ALTER SYSTEM RESET autovacuum_naptime")
        connection.execute("SELECT pg_reload_conf()")
