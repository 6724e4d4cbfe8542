"""What `check` says of where tenants come from: what can't be read, answers twice, or takes a scan."""

from collections.abc import Iterator
from typing import Any

import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.preflight.checklist import look
from control.preflight.finding import Finding
from sql.postgres.connection import Connection, connect
from tests.integration.migrated import ground

SCHEMA = """
CREATE TABLE orgs (id int, code text, seat int, tenant text);
INSERT INTO orgs VALUES (1, 'a', 1, 'acme'), (2, 'b', 1, 'umbra');
CREATE VIEW listed AS SELECT * FROM orgs;
CREATE TABLE docs (
  id int PRIMARY KEY, org int, seat int, owner text, doubled int GENERATED ALWAYS AS (org * 2) STORED
);
INSERT INTO docs VALUES (1, 1, 1, 'acme'), (2, 2, 1, 'umbra');
CREATE TABLE pages (id int PRIMARY KEY, owner text);
INSERT INTO pages VALUES (1, 'acme'), (2, 'umbra');
ANALYZE;
"""
ORG: dict[str, Any] = {"lookup": "orgs", "on": {"org": "id"}, "column": "tenant"}


@pytest.fixture(scope="module")
def tables(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """The tables, which no test changes."""
    with connect(postgres.url(), "test") as maker:
        maker.execute("CREATE DATABASE preflight_sources")
        with connect(postgres.url("preflight_sources"), "test") as connection:
            connection.execute(SCHEMA.encode())
            yield connection
        maker.execute("DROP DATABASE preflight_sources WITH (FORCE)")


@pytest.fixture
def changed(tables: Connection) -> Iterator[Connection]:
    """The tables, and what a test does to them is undone."""
    with tables.transaction(force_rollback=True):
        yield tables


def plan(source: dict[str, Any], **more: Any) -> Plan:
    """The plan of `docs`, of `pages`, and of `more` tables."""
    tables = [
        {"name": "docs", "tenant": source},
        {"name": "pages", "tenant": more.pop("pages", {"expression": "owner"})},
        *more.pop("more", []),
    ]
    return Plan.model_validate({"name": "p", "database": {"url": "postgresql:///"}, "tables": tables} | more)


def of_docs(connection: Connection, of: Plan) -> dict[str, Finding]:
    """What is found about `docs`, by its name."""
    return {f.name: f for f in look(ground(connection, of)) if f.name.startswith("docs: ")}


STOPS: dict[str, tuple[dict[str, Any], str, str]] = {
    "columns of two types": (
        ORG | {"on": {"owner": "id"}},
        "owner is text, and orgs.id is integer: the server says: operator does not exist",
        "name two columns of one type",
    ),
    "a column that isn't there": (ORG | {"on": {"organ": "id"}}, "there is no organ", "correct the source"),
    "another table's column that isn't there": (
        ORG | {"on": {"org": "number"}, "column": "name"},
        "there is no orgs.number, orgs.name",
        "correct the source",
    ),
    "a table that isn't there": (ORG | {"lookup": "list"}, "there is no list", "correct the source"),
    "a name that is none": (ORG | {"lookup": "a.b.c"}, "there is no a.b.c", "correct the source"),
    "in an otherwise, too": (
        {"expression": "owner", "otherwise": ORG | {"column": "name"}},
        "there is no orgs.name",
        "correct the source",
    ),
    "a generated column": (
        ORG | {"on": {"doubled": "id"}},
        "doubled is generated, and has no value yet when the write guard asks",
        "what it is generated from",
    ),
    "an expression over a generated column": (
        {"expression": "'org-' || t.doubled"},
        "doubled is generated",
        "what it is generated from",
    ),
    "a view": (ORG | {"lookup": "listed"}, "listed is no table", "name the table that it reads"),
}


@pytest.mark.parametrize("wrong", STOPS)
def test_what_a_source_can_not_read_stops_with_what_it_is_and_a_way_out(
    tables: Connection, wrong: str
) -> None:
    source, fact, way_out = STOPS[wrong]
    found = of_docs(tables, plan(source))["docs: tenant source"]
    assert found.level == "stop"
    assert fact in found.fact
    assert way_out in found.way_out


def test_a_generated_column_that_no_source_names_is_in_nobodys_way(tables: Connection) -> None:
    found = of_docs(tables, plan({"expression": "t.owner", "otherwise": ORG}))
    assert found["docs: tenant source"].level == "pass"


def test_a_table_that_is_missing_further_up_stops_once(tables: Connection) -> None:
    below = {"parent": "docs", "on": {"id": "id"}}
    gone = {"name": "gone", "tenant": {"expression": "owner"}}
    findings = look(ground(tables, plan({"parent": "gone", "on": {"org": "id"}}, pages=below, more=[gone])))
    stops = {finding.name: finding.fact for finding in findings if finding.level == "stop"}
    assert stops == {"tables": "gone", "docs: tenant source": "there is no gone"}


def test_a_lookup_of_another_role_stops_for_the_guards_triggers(changed: Connection) -> None:
    changed.execute(
        "CREATE ROLE clerk; GRANT ALL ON SCHEMA public TO clerk; GRANT SELECT ON orgs TO clerk;"
        "ALTER TABLE docs OWNER TO clerk; ALTER TABLE pages OWNER TO clerk; SET ROLE clerk"
    )
    found = of_docs(changed, plan(ORG))["docs: rights on what is looked up"]
    assert (found.level, found.fact) == ("stop", "orgs")
    assert "TO clerk" in found.way_out
    changed.execute("RESET ROLE; GRANT postgres TO clerk; SET ROLE clerk")
    assert of_docs(changed, plan(ORG))["docs: rights on what is looked up"].level == "pass"


ANSWERS = "docs: one orgs to a row"


def test_one_key_of_two_tenants_stops_with_what_they_are(changed: Connection) -> None:
    found = of_docs(changed, plan(ORG | {"on": {"seat": "seat"}}))[ANSWERS]
    assert found.level == "stop"
    assert found.fact == "1 values of orgs (seat) lead to several tenants each, such as (1) of acme, umbra"
    assert "name more columns in `on`" in found.way_out
    both = of_docs(changed, plan(ORG | {"on": {"seat": "seat", "org": "id"}}))[ANSWERS]
    assert both.level == "warn", "together they are unique, but nothing keeps them so"


def test_one_key_twice_for_one_tenant_warns_and_stops_where_the_question_would_fail(
    changed: Connection,
) -> None:
    changed.execute("INSERT INTO orgs VALUES (1, 'c', 1, 'acme')")
    alone = of_docs(changed, plan(ORG))[ANSWERS]
    assert (alone.level, alone.fact) == (
        "warn",
        "1 values of orgs (id) are there more than once, for one tenant each, such as (1) of acme",
    )
    beside = of_docs(changed, plan(ORG | {"otherwise": "rest"}))[ANSWERS]
    assert beside.level == "stop"
    assert "set aside" in beside.way_out
    last = of_docs(changed, plan(ORG, tenant={"unresolved": "otherwise"}))[ANSWERS]
    assert last.level == "stop", "unresolved asks the same way"


def test_a_second_one_that_tells_no_tenant_is_no_second_answer(changed: Connection) -> None:
    changed.execute("INSERT INTO orgs VALUES (1, 'c', 1, NULL), (1, 'd', 1, ''), (1, 'e', 1, 'no tenant')")
    assert "though it is" in of_docs(changed, plan(ORG))[ANSWERS].fact


def test_what_nothing_makes_unique_warns_until_its_way_out_is_gone(changed: Connection) -> None:
    warned = of_docs(changed, plan(ORG))[ANSWERS]
    assert warned.level == "warn"
    assert warned.way_out == 'CREATE UNIQUE INDEX CONCURRENTLY ON "public"."orgs" ("id")'
    changed.execute(
        "CREATE UNIQUE INDEX few ON orgs (id) WHERE seat = 1; CREATE UNIQUE INDEX two ON orgs (id, code)"
    )
    assert of_docs(changed, plan(ORG))[ANSWERS] == warned, "neither of them says it of every id"
    changed.execute(warned.way_out.replace("CONCURRENTLY", "").encode())
    assert of_docs(changed, plan(ORG))[ANSWERS].level == "pass"
    wider = plan(ORG | {"on": {"org": "id", "seat": "seat"}})
    assert of_docs(changed, wider)[ANSWERS].level == "pass"


def test_a_parent_with_two_rows_of_two_tenants_stops_too(changed: Connection) -> None:
    of = plan({"expression": "owner"}, pages={"parent": "docs", "on": {"id": "seat"}})
    found = {finding.name: finding for finding in look(ground(changed, of))}
    assert found["pages: one docs to a row"].level == "stop"
    assert "(1) of acme, umbra" in found["pages: one docs to a row"].fact


@pytest.mark.parametrize(
    ("large", "name", "statement"),
    [
        ("orgs", "docs: index to find orgs by", 'CREATE INDEX CONCURRENTLY ON "public"."orgs" ("id")'),
        ("docs", "docs: index to follow orgs by", 'CREATE INDEX CONCURRENTLY ON "public"."docs" ("org")'),
    ],
)
def test_a_large_table_without_an_index_to_find_its_rows_by_warns_with_the_statement(
    changed: Connection, large: str, name: str, statement: str
) -> None:
    assert of_docs(changed, plan(ORG))[name].level == "pass", "a few rows need none"
    changed.execute("CREATE INDEX ON orgs (id) WHERE seat = 1; CREATE INDEX ON docs (owner, org)")
    changed.execute("CREATE INDEX ON orgs USING brin (id)")
    changed.execute("UPDATE pg_class SET reltuples = 3000000 WHERE relname = %s", [large])
    warned = of_docs(changed, plan(ORG))[name]
    assert (warned.level, warned.way_out) == ("warn", statement)
    assert "3,000,000 by the last ANALYZE" in warned.fact
    changed.execute(warned.way_out.replace("CONCURRENTLY", "").encode())
    assert of_docs(changed, plan(ORG))[name].fact.endswith("has one")


def test_a_partitioned_table_is_told_by_the_partitions_that_lack_the_index(changed: Connection) -> None:
    changed.execute(
        "CREATE TABLE places (id int, tenant text, at date) PARTITION BY RANGE (at);"
        "CREATE TABLE old PARTITION OF places FOR VALUES FROM (MINVALUE) TO ('2025-01-01');"
        "CREATE TABLE new PARTITION OF places FOR VALUES FROM ('2025-01-01') TO (MAXVALUE);"
        "CREATE INDEX ON old (id); ANALYZE places;"
        "UPDATE pg_class SET reltuples = 3000000 WHERE relname IN ('old', 'new')"
    )
    found = of_docs(changed, plan(ORG | {"lookup": "places"}))
    way_out = found["docs: index to find places by"].way_out
    assert way_out == 'CREATE INDEX CONCURRENTLY ON "public"."new" ("id")'
    assert "partitioned" in found["docs: one places to a row"].way_out


@pytest.mark.parametrize("code", ["P0001", "T0001", "21000"])
def test_a_function_that_fails_for_a_row_stops_with_what_it_says_whatever_its_code(
    changed: Connection, code: str
) -> None:
    changed.execute(
        "CREATE FUNCTION known(text) RETURNS text LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'who is that' USING ERRCODE = '{code}'; END $$".encode()
    )
    found = of_docs(changed, plan({"expression": "known(owner)"}))["docs: tenants worked out"]
    assert found.level == "stop"
    assert found.fact == "the server says: who is that"


@pytest.mark.parametrize(
    ("source", "more"),
    [
        ({"constant": "umbrella"}, {}),
        ({"expression": "owner", "otherwise": "umbrella"}, {}),
        ({"expression": "owner"}, {"tenant": {"unresolved": "otherwise", "legacy": "umbrella"}}),
        ({"expression": "owner"}, {"tenant": {"sentinel": "umbrella"}}),
    ],
)
def test_a_tenant_of_the_plan_that_is_too_long_for_a_column_that_is_there_stops(
    changed: Connection, source: dict[str, Any], more: dict[str, Any]
) -> None:
    changed.execute("ALTER TABLE docs ADD tenant_id varchar(6)")
    found = of_docs(changed, plan(source, **more))["docs: tenant column"]
    assert found.level == "stop"
    assert "too short for 'umbrella'" in found.fact
    assert found.way_out is not None
    changed.execute(found.way_out.partition(",")[0].encode())
    assert of_docs(changed, plan(source, **more))["docs: tenant column"].level == "pass"
