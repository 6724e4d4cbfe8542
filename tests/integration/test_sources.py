"""Whose a row is: what a source says as SQL is what it says when each row is asked by itself, in Python."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import errors, sql

from sql.postgres import dry_run
from sql.postgres.pattern import fits
from sql.postgres.planned import PLACE, TENANT, Planned, kept, planned
from sql.postgres.source import Rules
from sql.tenant_source import TenantSource
from tests.integration.worlds import (
    FOLDER,
    NOTE,
    ORG,
    PATTERN,
    TREE,
    WORLDS,
    Asked,
    World,
    sources,
    tenants,
    then,
    write,
)

_TABLES = """
CREATE TABLE orgs (id integer, tenant text);
CREATE TABLE folders (
    id integer PRIMARY KEY, above integer, org integer, note text, tenant_id text NOT NULL DEFAULT ''
);
CREATE TABLE files (
    id integer PRIMARY KEY, folder integer, org integer, note text, tenant_id text NOT NULL DEFAULT ''
);
"""


@pytest.fixture(scope="module")
def tables(postgres: Any) -> Iterator[psycopg.Connection]:
    """The tables, without a row."""
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute("CREATE DATABASE sources")
        with psycopg.connect(postgres.url("sources"), autocommit=True) as connection:
            connection.execute(_TABLES)
            yield connection
        operator.execute("DROP DATABASE sources WITH (FORCE)")


@given(WORLDS, sources(TREE, NOTE, ORG), sources(FOLDER, NOTE, ORG))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    # A chain of four, a circle of two with one below, and one that names itself.
    World(
        {},
        {
            1: (None, None, "acme"),
            2: (1, None, "umbra"),
            3: (2, None, None),
            4: (3, None, None),
            5: (6, None, "acme"),
            6: (5, None, "acme"),
            7: (6, None, "acme"),
            8: (8, None, "umbra"),
        },
        {1: (4, None, None), 2: (7, None, "acme"), 3: (None, None, "acme")},
    ),
    then(TREE, NOTE),
    then(FOLDER, NOTE),
)
def test_every_row_gets_what_its_source_says_whatever_the_rows_are(
    tables: psycopg.Connection, world: World, of_folders: TenantSource, of_files: TenantSource
) -> None:
    told_by = {"folders": of_folders, "files": of_files}
    write(tables, world)
    expected = Asked(world, told_by)
    for table in ("folders", "files"):
        update, _ = dry_run.fill(
            sql.Identifier(table), told_by[table], Rules(table, "tenant_id", "", PATTERN)
        )
        tables.execute(update)
        assert tenants(tables, table) == expected.of(table), table


@given(WORLDS, sources(TREE, NOTE, ORG), sources(FOLDER, NOTE, ORG))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_check_works_out_beforehand_is_what_the_rows_get(
    tables: psycopg.Connection, world: World, of_folders: TenantSource, of_files: TenantSource
) -> None:
    proper = [None, "", "acme", "umbra"]

    def tamed(text: str | None) -> str | None:
        return text if text in proper else "acme"

    def all_tamed(rows: dict[int, tuple[int | None, int | None, str | None]]) -> dict[int, Any]:
        return {row: (above, org, tamed(note)) for row, (above, org, note) in rows.items()}

    orgs = {org: tamed(name) for org, name in world.orgs.items()}
    world = World(orgs, all_tamed(world.folders), all_tamed(world.files))
    told_by = {"folders": of_folders, "files": of_files}
    write(tables, world)
    expected = Asked(world, told_by)
    names = {name: sql.Identifier(name) for name in told_by}
    for table in told_by:
        statement = sql.SQL("SELECT id, coalesce({}, ''), {} FROM {} AS planned").format(
            TENANT, PLACE, planned(Planned(told_by, names), table)
        )
        found = tables.execute(statement).fetchall()
        assert {row: tenant for row, tenant, _ in found} == expected.of(table), table
        assert len(found) == len(expected.of(table)), "each row once"


def test_what_a_row_has_already_it_keeps_in_what_check_works_out_and_those_below_it_have_that(
    tables: psycopg.Connection,
) -> None:
    folders: dict[int, Any] = {
        1: (None, None, "acme"),
        2: (1, None, "acme"),
        3: (2, None, None),
        4: (4, None, None),
        # A circle, of which one has its tenant.
        5: (6, None, None),
        6: (5, None, None),
    }
    files: dict[int, Any] = {1: (3, None, None), 2: (5, None, None), 3: (1, None, None), 4: (9, None, None)}
    write(tables, World({}, folders, files))
    tables.execute("UPDATE folders SET tenant_id = 'umbra' WHERE id IN (2, 6)")
    tables.execute("UPDATE files SET tenant_id = 'other' WHERE id IN (3, 4)")
    told_by = {"folders": then(TREE, NOTE), "files": FOLDER}
    names = {name: sql.Identifier(name) for name in told_by}
    plan = Planned(told_by, names, dict.fromkeys(told_by, kept("tenant_id", "")))
    for table, source in told_by.items():
        statement = sql.SQL("SELECT id, {} FROM {} AS planned").format(TENANT, planned(plan, table))
        found = tables.execute(statement).fetchall()
        update, _ = dry_run.fill(sql.Identifier(table), source, Rules(table, "tenant_id", "", PATTERN))
        tables.execute(update)
        assert {row: tenant or "" for row, tenant in found} == tenants(tables, table), table
        assert len(found) == len(tenants(tables, table)), "each row once"


_PATTERNS = st.sampled_from(
    [
        "^[A-Za-z0-9_-]{1,255}$",
        "^[a-c]{2,3}$",
        "^[^a]{0,2}$",
        "^[a-c]{0,0}$",
        "^[]a]{1,3}$",
        "^a{1,3}$",
        "^[a.]{1,}$",
    ]
)


@given(_PATTERNS, st.text("abcdA_-].\n ä", max_size=5))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("^[A-Za-z0-9_-]{1,255}$", "a" * 256)
@example("^[A-Za-z0-9_-]{1,255}$", "a" * 255)
@example("^[A-Za-z0-9_-]{1,255}$", "a\n")
@example("^[a-c]{5,3}$", "abc")
def test_a_pattern_that_is_asked_another_way_lets_the_same_texts_pass(
    tables: psycopg.Connection, pattern: str, text: str
) -> None:
    asked = sql.SQL("SELECT {}").format(fits(sql.Literal(text), pattern))
    try:
        expected = tables.execute("SELECT %s::text ~ %s::text", [text, pattern]).fetchone()
    except errors.InvalidRegularExpression:
        return  # `check` stops at such a one
    assert tables.execute(asked).fetchone() == expected
