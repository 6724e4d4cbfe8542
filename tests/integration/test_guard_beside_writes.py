"""The write guard under two sessions of an application that knows nothing of tenants, and a backfill between.

Everything is said one after the other, by sessions that have transactions open side by side; a statement that
would wait for another's is given up. So what goes wrong goes wrong again.
"""

from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import errors

from control import following
from control.embedded.postgres import EmbeddedPostgres
from control.jobs import rules_of
from control.plan.model import Plan
from control.stages import columns
from sql.postgres import dry_run
from sql.postgres.connection import connect
from sql.tenant_source import Constant, TenantSource
from tests.integration.walking import Walker
from tests.integration.worlds import (
    FOLDER,
    NOTE,
    NOTES,
    ORG,
    ORGS,
    PATTERN,
    TREE,
    WORLDS,
    Asked,
    World,
    read,
    sources,
    tenants,
    then,
    write,
)
from tests.waiting import until

_TABLES = """
DROP TABLE IF EXISTS orgs, folders, files;
CREATE TABLE orgs (id integer PRIMARY KEY, tenant text);
CREATE TABLE folders (id integer PRIMARY KEY, above integer {above}, org integer, note text);
CREATE TABLE files (id integer PRIMARY KEY, folder integer {folder}, org integer {org}, note text);
CREATE INDEX ON folders (above);
CREATE INDEX ON files (folder);
"""


def _references(table: str) -> st.SearchStrategy[str]:
    return st.sampled_from(
        [
            "",
            f"REFERENCES {table} ON DELETE CASCADE",
            f"REFERENCES {table} ON DELETE SET NULL ON UPDATE CASCADE",
            f"REFERENCES {table} DEFERRABLE INITIALLY DEFERRED",
        ]
    )


@dataclass(frozen=True)
class Begun:
    """What is there before: rows, and how they name each other."""

    world: World
    folder: str = ""
    above: str = ""
    org: str = ""

    @property
    def sound(self) -> World:
        """The rows, without references to such as aren't there where a foreign key wants them."""
        orgs, folders = self.world.orgs, self.world.folders

        def known(row: int | None, rows: Container[int], reference: str) -> int | None:
            return row if not reference or row in rows else None

        return World(
            orgs,
            {key: (known(up, folders, self.above), org, note) for key, (up, org, note) in folders.items()},
            {
                key: (known(folder, folders, self.folder), known(org, orgs, self.org), note)
                for key, (folder, org, note) in self.world.files.items()
            },
        )


_BEGUN = st.builds(Begun, WORLDS, _references("folders"), _references("folders"), _references("orgs"))
_SETTINGS = st.fixed_dictionaries(
    {
        "sentinel": st.sampled_from(["", "null"]),
        "unresolved": st.sampled_from(["quarantine", "otherwise"]),
        "moves": st.sampled_from(["follow", "refuse"]),
    }
)
_TOLD_BY = st.tuples(
    sources(TREE, NOTE, ORG, Constant(constant="all")),
    sources(FOLDER, NOTE, ORG) | st.builds(then, st.sampled_from([NOTE, ORG]), sources(FOLDER)),
    _SETTINGS,
)


@dataclass(frozen=True)
class Said:
    """What one of the sessions says: a statement, or the end of its transaction."""

    session: int
    statement: str
    values: tuple[Any, ...] = ()


def _statements() -> st.SearchStrategy[tuple[str, tuple[Any, ...]]]:
    def of(text: str, *values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, tuple[Any, ...]]]:
        return st.tuples(st.just(text), st.tuples(*values))

    folder, file, org = st.integers(1, 9), st.integers(1, 12), st.integers(1, 4)
    folders = "INSERT INTO folders VALUES (%s, %s, %s, %s)"
    again = "ON CONFLICT (id) DO UPDATE SET org = excluded.org, note = excluded.note"
    return st.one_of(
        of(folders, folder, st.none() | folder, ORGS, NOTES),
        of(f"{folders} {again}", folder, st.none() | folder, ORGS, NOTES),
        # From below.
        of(f"{folders}, (%s, NULL, %s, %s)", folder, folder, ORGS, NOTES, folder, ORGS, NOTES),
        of("INSERT INTO files VALUES (%s, %s, %s, %s)", file, st.none() | folder, ORGS, NOTES),
        of("UPDATE folders SET above = %s WHERE id = %s", st.none() | folder, folder),
        of("UPDATE folders SET note = %s, org = %s WHERE id = %s", NOTES, ORGS, folder),
        of("UPDATE folders SET id = %s WHERE id = %s", folder, folder),
        of("UPDATE folders SET note = %s", NOTES),
        of("UPDATE files SET folder = %s WHERE id = %s", st.none() | folder, file),
        of("UPDATE files SET note = %s, org = %s WHERE id = %s", NOTES, ORGS, file),
        of("UPDATE orgs SET tenant = %s WHERE id = %s", NOTES, org),
        of("UPDATE orgs SET id = %s WHERE id = %s", org, org),
        of("INSERT INTO orgs VALUES (%s, %s)", org, NOTES),
        of("DELETE FROM files WHERE id = %s", file),
        of("DELETE FROM folders WHERE id = %s", folder),
        of("DELETE FROM orgs WHERE id = %s", org),
        of("COMMIT"),
        of("COMMIT"),
        of("ROLLBACK"),
        of("fill"),
    )


_SAID = st.lists(
    st.builds(lambda session, said: Said(session, *said), st.integers(0, 1), _statements()), max_size=25
)


@pytest.fixture(scope="module")
def url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database."""
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute("CREATE DATABASE beside")
        yield postgres.url("beside")
        operator.execute("DROP DATABASE beside WITH (FORCE)")


def _plan(url: str, of_folders: TenantSource, of_files: TenantSource, tenant: dict[str, str]) -> Plan:
    return Plan.model_validate(
        {
            "name": "beside",
            "database": {"url": url},
            "tenant": {"pattern": PATTERN, "legacy": "legacy"} | tenant,
            "tables": [{"name": "folders", "tenant": of_folders}, {"name": "files", "tenant": of_files}],
        }
    )


def _fill(walker: Walker) -> None:
    """The backfill, in one batch for each table."""
    for table in walker.plan.in_order():
        update, _ = dry_run.fill(
            walker.original.table(table.name).identifier,
            walker.plan.source_of(table),
            rules_of(walker.plan, table),
        )
        walker.connection.execute(update)


@contextmanager
def _sessions(url: str) -> Iterator[list[psycopg.Connection]]:
    with ExitStack() as stack:
        opened = [stack.enter_context(psycopg.connect(url)) for _ in range(2)]
        for session in opened:
            session.execute("SET lock_timeout = '20ms'")
            session.commit()
        yield opened
        for session in opened:
            session.rollback()


def _say(said: Said, sessions: list[psycopg.Connection], walker: Walker) -> None:
    if said.statement == "fill":
        # Where it would wait for a transaction that is open: another time.
        with suppress(errors.LockNotAvailable, errors.DeadlockDetected):
            _fill(walker)
        return
    session = sessions[said.session]
    try:
        session.execute(said.statement.encode(), said.values)
    except (errors.IntegrityError, errors.LockNotAvailable, errors.DeadlockDetected):
        session.rollback()


@given(_BEGUN, _TOLD_BY, _SAID)
@example(
    # A file is written into a folder that goes to another tenant, by sessions that don't see each other.
    Begun(World({}, {1: (None, None, "acme")}, {})),
    (then(TREE, NOTE), FOLDER, {}),
    [
        Said(0, "fill"),
        Said(0, "UPDATE folders SET note = %s", ("umbra",)),
        Said(1, "INSERT INTO files VALUES (%s, %s, %s, %s)", (1, 1, None, None)),
        Said(1, "COMMIT"),
        Said(0, "COMMIT"),
    ],
)
@example(
    # A file has an organisation that nobody knows yet.
    Begun(World({}, {}, {})),
    (TREE, then(ORG, "rest"), {}),
    [
        Said(0, "INSERT INTO files VALUES (%s, %s, %s, %s)", (1, None, 1, None)),
        Said(0, "COMMIT"),
        Said(1, "INSERT INTO orgs VALUES (%s, %s)", (1, "acme")),
    ],
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_the_end_every_row_has_the_tenant_that_it_would_get_with_the_application_stopped(
    url: str,
    postgres: EmbeddedPostgres,
    begun: Begun,
    told_by: tuple[TenantSource, TenantSource, dict[str, str]],
    said: list[Said],
) -> None:
    of_folders, of_files, tenant = told_by
    with connect(url, "test") as connection, _sessions(url) as sessions:
        tables = _TABLES.format(folder=begun.folder, above=begun.above, org=begun.org)
        connection.execute(tables.encode())
        with connection.transaction():  # in whatever order they refer to each other
            connection.execute("SET LOCAL session_replication_role = replica")
            write(connection, begun.sound)
        plan = _plan(url, of_folders, of_files, tenant)
        walker = Walker(connection, plan, postgres)
        connection.execute("SET lock_timeout = '20ms'")
        walker.there(columns.STAGE)
        for one in said:
            _say(one, sessions, walker)
        for session in sessions:
            try:
                session.commit()
            except errors.IntegrityError:
                session.rollback()
        _fill(walker)
        until(lambda: not following.settled(connection, plan, walker.original), "the last transaction's end")
        expected = Asked(read(connection), {table.name: plan.source_of(table) for table in plan.tables})
        for table in ("folders", "files"):
            told = {row: tenant for row, tenant in expected.of(table).items() if tenant}
            found = tenants(connection, table)
            # What nothing tells a tenant of any more keeps the one that it had.
            assert {row: found[row] for row in told} == told, table
        walker.back(columns.STAGE)
