"""Rows follow what tells their tenant, by whatever statement that comes, changes or goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
import pytest

from control import following
from control.embedded.postgres import EmbeddedPostgres
from control.jobs import rules_of
from control.plan.model import Plan
from control.stages import columns
from sql.postgres import batch, dry_run
from sql.postgres.connection import Connection, connect
from tests.integration.walking import Walker

_TABLES = """
CREATE TABLE orgs (id integer PRIMARY KEY, code integer, tenant text, former text);
CREATE TABLE companies (id integer PRIMARY KEY);
CREATE TABLE folders (id integer PRIMARY KEY, above integer REFERENCES folders, org integer, note text);
CREATE TABLE files (id integer PRIMARY KEY, folder integer, org integer, note text);
"""
ORG = {"lookup": "orgs", "on": {"org": "id"}, "column": "tenant"}
FORMER = ORG | {"column": "former"}
CODE = ORG | {"on": {"org": "code"}}
NOTE = {"expression": "note"}
TREE = {"parent": "folders", "on": {"above": "id"}, "otherwise": NOTE | {"otherwise": "rest"}}
FOLDER = {"parent": "folders", "on": {"folder": "id"}}
CONSTANT = {"constant": "all"}


@pytest.fixture
def tables(database: str) -> Iterator[Connection]:
    """The tables, without a row."""
    with connect(database, "test") as connection:
        connection.execute(_TABLES.encode())
        yield connection


@contextmanager
def _guarded(
    connection: Connection, server: EmbeddedPostgres, *, moves: str = "follow", **sources: dict[str, Any]
) -> Iterator[Walker]:
    """A walker on these tables with the write guard, and at the end without it."""
    plan = Plan.model_validate(
        {
            "name": "follows",
            "database": {"url": "postgresql:///"},
            "tenant": {"moves": moves},
            "tables": [{"name": name, "tenant": source} for name, source in sources.items()],
        }
    )
    walker = Walker(connection, plan, server)
    walker.there(columns.STAGE)
    yield walker
    walker.back(columns.STAGE)


def _fill(walker: Walker) -> None:
    """The backfill, in one batch for each table."""
    for table in walker.plan.in_order():
        identifier = walker.original.table(table.name).identifier
        update, _ = dry_run.fill(identifier, walker.plan.source_of(table), rules_of(walker.plan, table))
        walker.connection.execute(update)


def _of(connection: Connection, table: str) -> dict[int, str]:
    return dict(connection.execute(f"SELECT id, tenant_id FROM {table}".encode()).fetchall())


@pytest.mark.parametrize(
    ("sources", "gone"),
    [
        ({"files": ORG | {"otherwise": "rest"}}, "orgs"),
        ({"files": ORG | {"otherwise": NOTE}}, "orgs"),
        ({"folders": NOTE, "files": FOLDER | {"otherwise": "rest"}}, "folders"),
        ({"folders": CONSTANT, "files": FOLDER | {"otherwise": "rest"}}, "folders"),
    ],
)
def test_what_outlives_the_row_that_told_its_tenant_has_what_is_asked_next(
    tables: Connection, postgres: EmbeddedPostgres, sources: dict[str, Any], gone: str
) -> None:
    with _guarded(tables, postgres, **sources) as walker:
        tables.execute("INSERT INTO orgs (id, tenant) VALUES (1, 'acme')")
        tables.execute("INSERT INTO folders VALUES (1, NULL, 1, 'acme')")
        tables.execute("INSERT INTO files VALUES (1, 1, 1, 'rest')")
        assert _of(tables, "files") != {1: "rest"}
        tables.execute(f"DELETE FROM {gone}".encode())
        assert _of(tables, "files") == {1: "rest"}
        assert following.settled(tables, walker.plan, walker.original) == 0


def test_what_was_written_while_the_row_that_told_its_tenant_went_is_put_right(
    tables: Connection, database: str, postgres: EmbeddedPostgres
) -> None:
    with _guarded(tables, postgres, files=ORG | {"otherwise": "rest"}) as walker:
        tables.execute("INSERT INTO orgs (id, tenant) VALUES (1, 'acme')")
        with psycopg.connect(database) as other:
            other.execute("DELETE FROM orgs")
            tables.execute("INSERT INTO files VALUES (1, NULL, 1, NULL)")
        assert _of(tables, "files") == {1: "acme"}
        assert following.settled(tables, walker.plan, walker.original) == 0
        assert _of(tables, "files") == {1: "rest"}


@pytest.mark.parametrize("constant", [CONSTANT, NOTE])
def test_what_is_written_before_its_parent_has_the_parents_tenant_once_that_is_there(
    tables: Connection, postgres: EmbeddedPostgres, constant: dict[str, Any]
) -> None:
    with _guarded(tables, postgres, folders=constant, files=FOLDER | {"otherwise": "rest"}):
        tables.execute("INSERT INTO files VALUES (1, 1, NULL, NULL), (2, 2, NULL, NULL)")
        tables.execute("INSERT INTO folders VALUES (1, NULL, NULL, 'all')")
        assert _of(tables, "files") == {1: "all", 2: "rest"}
        tables.execute("UPDATE folders SET id = 2")
        assert _of(tables, "files") == {1: "rest", 2: "all"}


@pytest.mark.parametrize("second", [FORMER, CODE])
def test_of_two_sources_that_read_one_table_each_is_followed(
    tables: Connection, postgres: EmbeddedPostgres, second: dict[str, Any]
) -> None:
    with _guarded(tables, postgres, files=ORG | {"otherwise": second}):
        tables.execute("INSERT INTO orgs VALUES (9, 1, 'acme', NULL), (1, 0, NULL, 'acme')")
        tables.execute("INSERT INTO files VALUES (1, NULL, 1, NULL)")
        assert _of(tables, "files") == {1: "acme"}
        tables.execute("UPDATE orgs SET tenant = replace(tenant, 'acme', 'umbra'), former = 'umbra'")
        assert _of(tables, "files") == {1: "umbra"}


@pytest.mark.parametrize(
    "reference",
    [
        "FOREIGN KEY (org) REFERENCES companies",  # columns of the same names, of another table
        "FOREIGN KEY (org) REFERENCES orgs NOT VALID",
    ],
)
def test_a_foreign_key_that_promises_no_row_there_is_none_to_rely_on(
    tables: Connection, postgres: EmbeddedPostgres, reference: str
) -> None:
    tables.execute("INSERT INTO companies VALUES (1)")
    tables.execute("INSERT INTO files VALUES (1, NULL, 1, NULL)")
    tables.execute(f"ALTER TABLE files ADD {reference}".encode())
    with _guarded(tables, postgres, files=ORG | {"otherwise": "rest"}) as walker:
        _fill(walker)
        assert _of(tables, "files") == {1: "rest"}
        tables.execute("INSERT INTO orgs (id, tenant) VALUES (1, 'acme')")
        assert _of(tables, "files") == {1: "acme"}


def test_a_tree_may_be_written_from_below_in_one_statement(
    tables: Connection, postgres: EmbeddedPostgres
) -> None:
    with _guarded(tables, postgres, folders=TREE):
        tables.execute(
            "INSERT INTO folders (id, above, note) VALUES (3, 2, NULL), (2, 1, 'umbra'), (1, NULL, 'acme')"
        )
        assert _of(tables, "folders") == {1: "acme", 2: "acme", 3: "acme"}


def test_a_row_that_is_its_own_parent_has_what_otherwise_says_by_now_and_the_rows_below_too(
    tables: Connection, postgres: EmbeddedPostgres
) -> None:
    with _guarded(tables, postgres, folders=TREE):
        tables.execute("INSERT INTO folders VALUES (1, 1, NULL, 'acme'), (2, 1, NULL, 'none of its own')")
        assert _of(tables, "folders") == {1: "acme", 2: "acme"}
        tables.execute("UPDATE folders SET note = 'umbra' WHERE id = 1")
        assert _of(tables, "folders") == {1: "umbra", 2: "umbra"}


def test_what_had_its_last_resort_follows_the_first_tenant_that_the_application_gives_its_parent(
    tables: Connection, postgres: EmbeddedPostgres
) -> None:
    with _guarded(tables, postgres, folders=NOTE, files=FOLDER | {"otherwise": "rest"}):
        tables.execute("INSERT INTO files VALUES (1, 1, NULL, NULL)")
        assert _of(tables, "files") == {1: "rest"}
        tables.execute("INSERT INTO folders VALUES (1, NULL, NULL, NULL)")
        assert _of(tables, "folders") == {1: ""}
        tables.execute("UPDATE folders SET note = 'acme'")
        assert _of(tables, "files") == {1: "acme"}


def test_what_waits_for_a_row_without_a_tenant_has_one_once_the_application_mends_that(
    tables: Connection, postgres: EmbeddedPostgres
) -> None:
    with _guarded(tables, postgres, folders=NOTE, files=FOLDER):
        tables.execute("INSERT INTO folders VALUES (1, NULL, NULL, NULL)")
        tables.execute("INSERT INTO files VALUES (1, 1, NULL, NULL)")
        assert _of(tables, "files") == {1: ""}
        tables.execute("UPDATE folders SET note = 'acme'")
        assert _of(tables, "files") == {1: "acme"}


@pytest.mark.parametrize(
    "away",
    [
        "UPDATE folders SET org = 2",
        "UPDATE orgs SET id = 3 WHERE id = 1; UPDATE orgs SET id = 1 WHERE id = 2",
        "DELETE FROM orgs WHERE id = 1; UPDATE orgs SET id = 1 WHERE id = 2",
        "DELETE FROM folders; INSERT INTO folders VALUES (1, NULL, 2, NULL)",
    ],
    ids=["another parent", "another parent's key", "another parent in its place", "a new parent"],
)
@pytest.mark.parametrize("moves", ["follow", "refuse"])
def test_what_comes_to_a_parent_that_a_batch_has_not_reached_yet_waits_with_it_and_all_below_too(
    tables: Connection, database: str, postgres: EmbeddedPostgres, moves: str, away: str
) -> None:
    tables.execute("INSERT INTO orgs (id, tenant) VALUES (1, 'acme'), (2, 'umbra')")
    tables.execute("INSERT INTO folders VALUES (1, NULL, 2, NULL)")
    tables.execute("INSERT INTO files VALUES (1, 1, NULL, NULL)")
    sources: dict[str, dict[str, Any]] = {
        "orgs": {"expression": "tenant"},
        "folders": {"parent": "orgs", "on": {"org": "id"}},
    }
    with _guarded(tables, postgres, moves=moves, **sources, files=FOLDER) as walker:
        with connect(database, "batch") as filling:
            batch.never_in_the_way(filling)
            filling.execute("UPDATE orgs SET tenant_id = tenant WHERE id = 1")
        tables.execute("UPDATE folders SET org = 1")
        assert (_of(tables, "folders"), _of(tables, "files")) == ({1: "acme"}, {1: "acme"})
        tables.execute(away.encode())
        batch.never_in_the_way(tables)
        _fill(walker)
        assert (_of(tables, "folders"), _of(tables, "files")) == ({1: "umbra"}, {1: "umbra"})


def test_a_row_of_a_tree_whose_parent_is_not_filled_yet_waits_for_the_batch_which_asks_further_up(
    tables: Connection, database: str, postgres: EmbeddedPostgres
) -> None:
    tables.execute("INSERT INTO orgs (id, tenant) VALUES (1, 'acme'), (2, 'umbra')")
    tables.execute("INSERT INTO folders VALUES (1, NULL, 1, NULL), (2, 1, 1, NULL), (3, NULL, 1, NULL)")
    folders = TREE | {"otherwise": {"parent": "orgs", "on": {"org": "id"}}}
    with _guarded(tables, postgres, orgs={"expression": "tenant"}, folders=folders) as walker:
        with connect(database, "batch") as filling:
            batch.never_in_the_way(filling)
            filling.execute("UPDATE orgs SET tenant_id = tenant WHERE id = 1")
        tables.execute("UPDATE folders SET above = 2 WHERE id = 3")
        tables.execute("UPDATE folders SET org = 2 WHERE id = 1")
        batch.never_in_the_way(tables)
        _fill(walker)
        assert _of(tables, "folders") == {1: "umbra", 2: "umbra", 3: "umbra"}


def test_a_column_that_the_application_had_before_is_never_emptied(
    tables: Connection, postgres: EmbeddedPostgres
) -> None:
    tables.execute("ALTER TABLE files ADD tenant_id text NOT NULL CHECK (tenant_id <> '')")
    tables.execute("INSERT INTO folders VALUES (1, NULL, NULL, NULL), (2, NULL, NULL, 'umbra')")
    tables.execute("INSERT INTO files VALUES (1, 1, NULL, NULL, 'acme')")
    with _guarded(tables, postgres, folders=NOTE, files=FOLDER):
        tables.execute("UPDATE files SET folder = 2")
        tables.execute("UPDATE folders SET id = 3 WHERE id = 1; UPDATE folders SET id = 4 WHERE id = 2")
        assert _of(tables, "files") == {1: "acme"}


def test_at_no_step_of_putting_it_in_its_place_a_row_stays_behind_its_parent(
    tables: Connection, postgres: EmbeddedPostgres
) -> None:
    plan = Plan.model_validate(
        {
            "name": "steps",
            "database": {"url": "postgresql:///"},
            "tables": [{"name": "folders", "tenant": NOTE}, {"name": "files", "tenant": FOLDER}],
        }
    )
    walker = Walker(tables, plan, postgres)
    for at in count():
        if not walker.there(columns.STAGE, most=1):
            break
        # Rows of its own for each step: what moves again later takes all of its own along.
        tables.execute("INSERT INTO folders (id, note) VALUES (%s, 'umbra')", [at])
        tables.execute("INSERT INTO files (id, folder) VALUES (%s, %s)", [at, at])
        tables.execute("UPDATE folders SET note = 'acme' WHERE id = %s", [at])
    batch.never_in_the_way(tables)
    _fill(walker)
    assert set(_of(tables, "files").values()) == {"acme"}
    walker.back(columns.STAGE)


def test_a_batch_does_not_go_after_the_rows_below_which_have_batches_of_their_own(
    tables: Connection, postgres: EmbeddedPostgres
) -> None:
    tables.execute("INSERT INTO folders VALUES (1, NULL, NULL, 'acme')")
    tables.execute("INSERT INTO files VALUES (1, 1, NULL, NULL)")
    with _guarded(tables, postgres, folders=NOTE, files=FOLDER):
        batch.never_in_the_way(tables)
        tables.execute("UPDATE folders SET tenant_id = 'acme'")
        assert _of(tables, "files") == {1: ""}


def test_moves_that_are_refused_are_those_of_rows_that_have_a_tenant(
    tables: Connection, postgres: EmbeddedPostgres
) -> None:
    tables.execute("INSERT INTO orgs (id) VALUES (1)")
    tables.execute("INSERT INTO files VALUES (1, NULL, 1, NULL), (2, NULL, 2, NULL)")
    with _guarded(tables, postgres, moves="refuse", files=ORG | {"otherwise": NOTE}):
        tables.execute("UPDATE orgs SET tenant = 'acme'")
        tables.execute("INSERT INTO orgs (id, tenant) VALUES (2, 'acme')")
        assert _of(tables, "files") == {1: "acme", 2: "acme"}
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="rows of files"):
            tables.execute("UPDATE orgs SET tenant = 'umbra'")


def test_where_moves_are_refused_what_was_written_beside_one_is_put_right(
    tables: Connection, database: str, postgres: EmbeddedPostgres
) -> None:
    tables.execute("INSERT INTO orgs (id, tenant) VALUES (1, 'acme')")
    with _guarded(tables, postgres, moves="refuse", files=ORG) as walker:
        with psycopg.connect(database) as other:
            other.execute("UPDATE orgs SET tenant = 'umbra'")
            tables.execute("INSERT INTO files VALUES (1, NULL, 1, NULL)")
        assert following.settled(tables, walker.plan, walker.original) == 0
        assert _of(tables, "files") == {1: "umbra"}


@pytest.mark.parametrize(
    ("ours", "theirs", "key"),
    [
        ("integer", "bigint", "99999999999"),
        ("integer", "numeric(10, 2)", "5"),
        ("varchar(2)", "text", "abc"),
        ("char(6)", "char(4)", "ab"),
        ("date", "date", "2026-05-04"),
        ("timestamptz", "timestamptz", "2026-05-04 10:00+02"),
        ("interval", "interval", "1 year 2 months -3 days"),
    ],
)
def test_a_move_is_settled_whatever_types_a_row_and_its_parent_are_told_by(
    database: str, postgres: EmbeddedPostgres, ours: str, theirs: str, key: str
) -> None:
    fits = key not in {"99999999999", "abc"}
    with connect(database, "test") as connection:
        connection.execute(f"CREATE TABLE folders (id {theirs} PRIMARY KEY, note text)".encode())
        connection.execute(f"CREATE TABLE files (id integer PRIMARY KEY, folder {ours})".encode())
        connection.execute("INSERT INTO folders VALUES (%s, 'acme')", [key])
        with _guarded(connection, postgres, folders=NOTE, files=FOLDER) as walker:
            _fill(walker)
            with psycopg.connect(database) as other:
                other.execute("SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'")
                other.execute("UPDATE folders SET note = 'umbra'")
                if fits:
                    connection.execute("INSERT INTO files VALUES (1, %s)", [key])
            assert following.settled(connection, walker.plan, walker.original) == 0
            assert _of(connection, "files") == ({1: "umbra"} if fits else {})


@pytest.mark.parametrize("code", ["T0001", "XX000", "0A000", "P0004"])
def test_whatever_the_source_fails_with_is_not_the_applications_error(
    tables: Connection, postgres: EmbeddedPostgres, code: str
) -> None:
    tables.execute(
        "CREATE FUNCTION known(text) RETURNS text LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'unknown' USING ERRCODE = '{code}'; END $$".encode()
    )
    with _guarded(tables, postgres, files={"expression": "known(note)"}):
        tables.execute("INSERT INTO files VALUES (1, NULL, NULL, 'acme')")
        assert _of(tables, "files") == {1: ""}


@pytest.mark.parametrize("written", ["NULL", "''"])
def test_a_tenant_that_is_none_is_no_word_of_the_applications(
    tables: Connection, postgres: EmbeddedPostgres, written: str
) -> None:
    tables.execute("ALTER TABLE files ADD tenant_id text")
    with _guarded(tables, postgres, files=NOTE):
        tables.execute(f"INSERT INTO files VALUES (1, NULL, NULL, 'acme', {written})".encode())
        assert _of(tables, "files") == {1: "acme"}
