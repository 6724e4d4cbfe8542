"""The sample graph after every stage, for the tests of verification."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from control import conductor
from control.embedded.postgres import EmbeddedPostgres
from control.stage import Ground
from control.verification.check import Check
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog
from tests.filled_table import spec_of_items
from worker import jobs, ledger, version


@dataclass(frozen=True)
class Finished:
    """A database whose sample graph went through every stage, its catalog before, its id in the ledger."""

    database: str
    original: Catalog
    migration: int


def on_record(on: Ground) -> int:
    """Put the migration into a ledger: a job for each table, all of it done in one batch."""
    connection = on.connection
    version.create(connection)
    settings = conductor.settings_of(on.plan, throttle=False)
    migration = ledger.begin(connection, name="graph", tables=[], original={}, settings=settings).id
    for table, rows in (("graph_entities", 2000), ("graph_relations", 4000)):
        spec = spec_of_items(
            table=table,
            key=(),
            paging="pages",
            rows_per_page=10.0,
            most_rows=100,
            source=on.plan.table(table).tenant,
            named=table,
            pattern=on.plan.tenant.pattern,
        )
        jobs.add(
            connection,
            migration,
            table=table,
            part=table,
            spec=spec,
            last_key=None,
            batch_rows=100,
            rows_total=rows,
            why="",
            state="complete",
        )
        connection.execute(
            "INSERT INTO tenantry.batches (job_id, origin, by, upper, state, rows) "
            "SELECT id, 'plan', 'page', '{}', 'done', %s FROM tenantry.jobs WHERE part = %s",
            [rows, table],
        )
    return migration


def operate(server: EmbeddedPostgres, statement: sql.Composed) -> None:
    """Run a statement about databases."""
    with psycopg.connect(server.url(), autocommit=True) as operator:
        operator.execute(statement)


def failed(checks: list[Check]) -> set[str]:
    """The names of the checks that are false."""
    return {check.name for check in checks if check.ok is False}


def check(checks: list[Check], name: str) -> Check:
    """The check of that name."""
    (found,) = [check for check in checks if check.name == name]
    return found


def silently(connection: Connection, statement: str) -> None:
    """As a fault that neither trigger nor foreign key saw."""
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(statement)
