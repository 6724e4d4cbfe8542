"""Preflight on tables as they come: their kind, what they are paged by, what a batch would set off."""

from collections.abc import Iterator
from typing import Any

import pytest

from control.plan.model import Plan
from control.preflight.checklist import look
from control.preflight.finding import Finding
from sql.postgres.connection import Connection, connect
from tests.integration.migrated import ground
from tests.integration.test_preflight import UNPREPARED

#: A partitioned table of two levels below a plain one; a table without a key.
SCHEMA = """
CREATE TABLE sensor (id int PRIMARY KEY, owner text NOT NULL);
INSERT INTO sensor SELECT n, 'org-' || n FROM generate_series(1, 3) AS n;
CREATE TABLE reading (at date NOT NULL, sensor int NOT NULL, value text) PARTITION BY RANGE (at);
CREATE TABLE before PARTITION OF reading FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
ALTER TABLE before ADD PRIMARY KEY (at, sensor, value);
CREATE TABLE later PARTITION OF reading DEFAULT PARTITION BY LIST (sensor);
CREATE TABLE "later %" PARTITION OF later DEFAULT;
INSERT INTO reading SELECT date '2024-12-01' + n, 1 + n % 3, 'x' FROM generate_series(0, 59) AS n;
CREATE TABLE note (of int, body text);
INSERT INTO note SELECT 1 + n % 3, 'n' FROM generate_series(1, 9) AS n;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
ANALYZE;
"""


def _table(name: str, on: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "tenant": {"parent": "sensor", "on": {on: "id"}}, **more}


def plan(**changes: dict[str, Any]) -> Plan:
    """The plan, with some things said about a table."""
    tables = {
        "sensor": {"name": "sensor", "tenant": {"expression": "owner"}},
        "reading": _table("reading", "sensor"),
        "note": _table("note", "of"),
    }
    of = [table | changes.pop(name, {}) for name, table in tables.items()]
    return Plan.model_validate(
        {"name": "odd", "database": {"url": "postgresql:///"}, "tables": of}
        | changes.pop("plan", {})
        | changes
    )


@pytest.fixture
def operator(database: str) -> Iterator[Connection]:
    """Our own session on the tables."""
    with connect(database, "test") as connection:
        connection.execute(SCHEMA.encode())
        yield connection


def at(findings: list[Finding], level: str) -> dict[str, str]:
    """The facts of one level by name, each with its way out."""
    return {f.name: f"{f.fact} -> {f.way_out}" for f in findings if f.level == level}


def test_partitioned_and_keyless_tables_pass_and_say_how_they_are_paged(operator: Connection) -> None:
    findings = look(ground(operator, plan()))
    assert at(findings, "stop") == {}
    assert set(at(findings, "warn")) == set(UNPREPARED)
    passed = at(findings, "pass")
    assert "2 partitions" in passed["reading: kind"]
    by_pages = passed["reading: key to page by"]
    assert '"later %"' in by_pages
    assert "before" not in by_pages
    assert "ctid" in passed["note: key to page by"]
    assert passed["sensor: key to page by"].startswith("(id)")
    assert passed["reading: tenants worked out"].startswith("all 60 rows, 3 tenants")


#: A statement and a plan that spoil one fact; the finding that stops; words of its fact and its way out.
STOPS: dict[str, tuple[str, Plan, str, tuple[str, ...]]] = {
    "a view": (
        "ALTER TABLE note RENAME TO n; CREATE VIEW note AS SELECT * FROM n",
        plan(),
        "note: kind",
        ("a view", "tables that its rows come from"),
    ),
    "a foreign table": (
        (
            "DROP TABLE note; CREATE FOREIGN DATA WRAPPER elsewhere; "
            "CREATE SERVER other FOREIGN DATA WRAPPER elsewhere; "
            "CREATE FOREIGN TABLE note (of int) SERVER other"
        ),
        plan(),
        "note: kind",
        ("a foreign table", "where its rows are"),
    ),
    "a foreign partition": (
        (
            "CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER other FOREIGN DATA WRAPPER elsewhere; "
            "CREATE FOREIGN TABLE far PARTITION OF later FOR VALUES IN (7) SERVER other"
        ),
        plan(),
        "reading: foreign partitions",
        ('"public"."far"', "DETACH"),
    ),
    "a partition": (
        "SELECT",
        plan(reading={"name": '"later %"'}),
        '"later %": kind',
        ("a partition of public.reading", "name its parent, public.reading"),
    ),
    "a partitioned partition": (
        "SELECT",
        plan(reading={"name": "later"}),
        "later: kind",
        ("name its parent, public.reading",),
    ),
    "a table with a child": ("CREATE TABLE child () INHERITS (note)", plan(), "note: kind", ("INHERITS",)),
    "a table with a parent": (
        "CREATE TABLE up (of int); ALTER TABLE note INHERIT up",
        plan(),
        "note: kind",
        ("INHERITS",),
    ),
    "a key without the partition key": (
        "SELECT",
        plan(reading={"primary_key": ["sensor", "tenant_id"]}),
        "reading: partition key in primary_key",
        ("at", "add them"),
    ),
    "partitions by the tenant": (
        (
            'ALTER TABLE reading ADD tenant_id text; ALTER TABLE later DETACH PARTITION "later %"; '
            "CREATE TABLE by_tenant PARTITION OF later FOR VALUES IN (2) PARTITION BY LIST (lower(tenant_id))"
        ),
        plan(),
        "reading: partition key",
        ("by_tenant", "name another column"),
    ),
    "keys to page by in a table without one": (
        "SELECT",
        plan(note={"paging": "contiguous"}),
        "note: key to page by",
        ("no primary key", 'paging = "pages"'),
    ),
    "keys to page by in partitions without one": (
        "SELECT",
        plan(plan={"backfill": {"paging": "striped"}}, note={"paging": "pages"}),
        "reading: key to page by",
        ('"later %"', 'paging = "pages"'),
    ),
    "a rule instead of the update": (
        "CREATE RULE never AS ON UPDATE TO note DO INSTEAD NOTHING",
        plan(),
        "note: rules",
        ("never of note", "DISABLE RULE"),
    ),
    "a foreign key whose check would be held off": (
        "CREATE TABLE org (id text PRIMARY KEY); ALTER TABLE note ADD tenant_id text REFERENCES org",
        plan(note={"user_triggers": "hold"}),
        "note: checks that would be held off, too",
        ("note_tenant_id_fkey", 'user_triggers = "run"'),
    ),
    "a foreign key onto the tenant whose check would be held off": (
        "ALTER TABLE note ADD tenant_id text UNIQUE; CREATE TABLE room (t text REFERENCES note (tenant_id))",
        plan(note={"user_triggers": "hold"}),
        "note: checks that would be held off, too",
        ("room_t_fkey",),
    ),
    "a deferred key whose check would be held off": (
        "ALTER TABLE note ADD tenant_id text UNIQUE DEFERRABLE",
        plan(note={"user_triggers": "hold"}),
        "note: checks that would be held off, too",
        ("note_tenant_id_key",),
    ),
}


@pytest.mark.parametrize("spoiled", STOPS)
def test_what_can_not_be_backfilled_stops_with_its_way_out(operator: Connection, spoiled: str) -> None:
    statement, of, name, words = STOPS[spoiled]
    operator.execute(statement.encode())
    stops = at(look(ground(operator, of)), "stop")
    assert set(stops) <= {name, name.replace(": kind", ": tenant source")}
    for word in words:
        assert word in stops[name]


#: Triggers of a leaf, of a partitioned table, and of a table that is held off and one that isn't.
TRIGGERS = """
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER audit AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER subscriber AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER "BEFORE UPDATE" BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER other_column BEFORE UPDATE OF {column} ON {table} FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER off BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER audit, ENABLE REPLICA TRIGGER subscriber, DISABLE TRIGGER off;
"""


def test_triggers_that_run_are_named_once_and_only_those_that_an_update_of_the_tenant_fires(
    operator: Connection,
) -> None:
    operator.execute(TRIGGERS.format(table="note", column="body").encode())
    operator.execute(TRIGGERS.format(table="reading", column="value").encode())
    operator.execute(
        "CREATE TRIGGER of_parent AFTER UPDATE ON reading FOR EACH STATEMENT EXECUTE FUNCTION touch(); "
        "CREATE TRIGGER of_leaf AFTER UPDATE ON before FOR EACH STATEMENT EXECUTE FUNCTION touch()"
    )
    warned = {f.name: f.fact for f in look(ground(operator, plan())) if f.level == "warn"}
    assert warned["note: triggers that the backfill fires"] == "audit; stamp"
    assert warned["reading: triggers that the backfill fires"] == "audit; of_leaf; stamp"


def test_triggers_held_off_are_told_from_those_that_fire_all_the_same_or_only_then(
    operator: Connection,
) -> None:
    operator.execute(TRIGGERS.format(table="note", column="body").encode())
    findings = look(ground(operator, plan(note={"user_triggers": "hold"})))
    assert at(findings, "stop") == {}
    warned = {f.name: f.fact for f in findings if f.level == "warn" and f.name not in UNPREPARED}
    assert warned == {
        "note: triggers that fire all the same": "audit",
        "note: triggers that fire only now": "subscriber",
    }


def test_a_table_that_needs_no_backfill_sets_nothing_off(operator: Connection) -> None:
    operator.execute(TRIGGERS.format(table="note", column="body").encode())
    of = plan(note={"tenant": {"constant": "acme"}, "user_triggers": "hold", "paging": "striped"})
    findings = look(ground(operator, of))
    assert at(findings, "stop") == {}
    assert not [name for name in at(findings, "warn") if name.startswith("note")]


def test_a_rule_that_is_out_of_force_while_triggers_are_held_off_passes(operator: Connection) -> None:
    operator.execute("CREATE RULE never AS ON UPDATE TO note DO INSTEAD NOTHING")
    assert at(look(ground(operator, plan(note={"user_triggers": "hold"}))), "stop") == {}


def test_holding_triggers_off_takes_the_right_to_and_the_way_out_grants_it(operator: Connection) -> None:
    def stopped() -> str | None:
        operator.execute("SET ROLE holder")
        try:
            findings = look(ground(operator, plan(note={"user_triggers": "hold"})))
        finally:
            operator.execute("RESET ROLE")
        return at(findings, "stop").get("note: right to hold triggers off")

    operator.execute("CREATE ROLE holder; GRANT pg_read_all_data TO holder")
    try:
        without = stopped()
        assert without is not None
        grant = "GRANT SET ON PARAMETER session_replication_role TO holder"
        if operator.info.server_version < 150_000:
            assert "superuser" in without
            assert grant not in without
            return
        assert grant in without
        operator.execute(grant.encode())
        assert stopped() is None
    finally:
        operator.execute("DROP OWNED BY holder; DROP ROLE holder")


def test_partitions_that_another_role_owns_are_named(operator: Connection) -> None:
    operator.execute("CREATE ROLE clerk; GRANT ALL ON SCHEMA public TO clerk")
    try:
        operator.execute("ALTER TABLE reading OWNER TO clerk; ALTER TABLE note OWNER TO clerk")
        operator.execute("ALTER TABLE sensor OWNER TO clerk; ALTER TABLE before OWNER TO clerk")
        operator.execute("SET ROLE clerk")
        stops = at(look(ground(operator, plan())), "stop")
        assert stops["rights on the tables"].startswith('"later %"; later ->')
    finally:
        operator.execute("RESET ROLE; DROP OWNED BY clerk CASCADE; DROP ROLE clerk")


def test_a_publication_of_one_partition_is_named(operator: Connection) -> None:
    operator.execute("CREATE PUBLICATION feed FOR TABLE before")
    assert "feed (before)" in at(look(ground(operator, plan())), "warn")["logical replication"]


def test_rows_without_a_key_and_a_tenant_are_shown_by_partition_and_place(operator: Connection) -> None:
    operator.execute("INSERT INTO note VALUES (99, 'lost')")
    operator.execute("INSERT INTO reading VALUES ('2026-01-01', 99, 'lost')")
    warned = at(look(ground(operator, plan())), "warn")
    assert "1 of 10 rows have none, such as note (0,10)" in warned["note: tenants worked out"]
    assert '1 of 61 rows have none, such as "later %" (' in warned["reading: tenants worked out"]
