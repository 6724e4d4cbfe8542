"""Preflight: the sample passes, and each fact that is wrong is found, with what to do about it."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from control.demo import sample as sample_graph
from control.plan.model import Plan
from control.preflight import rows
from control.preflight.checklist import look
from control.preflight.estimate import Estimate, estimates
from control.preflight.finding import Finding
from control.stage import Ground
from control.stages import columns, preflight
from sql.errors import GateClosedError
from sql.postgres.connection import Connection, connect
from tests.integration.migrated import PLAN, ground, plan, take
from tests.servers import before_15, start_postgres
from tests.waiting import until


@pytest.fixture
def operator(sample: str) -> Iterator[Connection]:
    """Our own session on a fresh copy of the sample."""
    with connect(sample, "test") as connection:
        yield connection


def with_table(name: str, **changes: Any) -> Plan:
    """The sample's plan, with something else said about one table."""
    tables = [table | (changes if table["name"] == name else {}) for table in PLAN["tables"]]
    return Plan.model_validate(PLAN | {"tables": tables})


#: What is to be said of every database that nobody has prepared.
OPEN = "schemas that everybody creates in"
UNPREPARED = ("backup", "rehearsal", "application's statements", *([OPEN] if before_15() else []))


def at(findings: list[Finding], level: str) -> dict[str, str]:
    return {finding.name: finding.fact for finding in findings if finding.level == level}


def test_the_sample_is_stopped_by_nothing_and_each_warning_has_a_way_out(operator: Connection) -> None:
    findings = look(ground(operator, plan()))
    assert at(findings, "stop") == {}
    assert set(at(findings, "warn")) == {*UNPREPARED, "quiet time", "indexes lost to policies"}
    assert all(finding.way_out for finding in findings if finding.level != "pass")


def test_a_schema_that_everybody_may_create_in_is_told(operator: Connection) -> None:
    operator.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    assert OPEN in at(look(ground(operator, plan())), "pass")
    operator.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    assert at(look(ground(operator, plan())), "warn")[OPEN] == "public"


def test_looking_changes_nothing_and_may_be_done_again_in_the_middle(operator: Connection) -> None:
    on = ground(operator, plan())
    preflight.STAGE.work(on)
    take(columns.STAGE, on)
    assert at(look(ground(operator, plan())), "stop") == {}


#: A statement or a plan that spoils one fact; the finding that stops; a word of what it says.
_TWO_WORDS = (
    "UPDATE graph_entities SET properties = '{\"org_id\": \"two words\"}' WHERE id = 'entity-0000000050'"
)

STOPS: dict[str, tuple[str, Plan, str, str]] = {
    "a table isn't there": (
        "DROP TABLE graph_relations",
        plan(),
        "tables",
        "graph_relations",
    ),
    "the tenant column has another type": (
        "ALTER TABLE graph_entities ADD tenant_id integer",
        plan(),
        "graph_entities: tenant column",
        "integer",
    ),
    "the tenant column is generated": (
        "ALTER TABLE graph_entities ADD tenant_id text GENERATED ALWAYS AS (properties->>'org_id') STORED",
        plan(),
        "graph_entities: tenant column",
        "generated",
    ),
    "a key's column isn't there": (
        "SELECT",
        with_table("graph_relations", primary_key=["number", "tenant_id"]),
        "graph_relations: columns of primary_key",
        "number",
    ),
    "a key's column may be NULL": (
        "SELECT",
        with_table("graph_relations", primary_key=["id", "created_at", "tenant_id"]),
        "graph_relations: columns of primary_key",
        "created_at",
    ),
    "an index's column isn't there": (
        "SELECT",
        with_table("graph_relations", indexes=[{"name": "i", "columns": ["tenant_id", "kind"]}]),
        "graph_relations: columns of indexes",
        "kind",
    ),
    "an index's name is taken": (
        "CREATE TABLE idx_relations_tenant ()",
        plan(),
        "graph_relations: names of indexes",
        "idx_relations_tenant",
    ),
    "an expression is no SQL": (
        "SELECT",
        with_table("graph_entities", tenant={"expression": "properties->>"}),
        "graph_entities: tenant source",
        "syntax error",
    ),
    "an expression is two statements": (
        "SELECT",
        with_table("graph_entities", tenant={"expression": "id) FROM graph_entities AS t; SELECT (1"}),
        "graph_entities: tenant source",
        "syntax error",
    ),
    "a lookup isn't there": (
        "SELECT",
        with_table("graph_entities", tenant={"lookup": "orgs", "on": {"id": "id"}, "column": "tenant"}),
        "graph_entities: tenant source",
        "orgs",
    ),
    "a parent's column isn't there": (
        "SELECT",
        with_table("graph_relations", tenant={"parent": "graph_entities", "on": {"source_id": "key"}}),
        "graph_relations: tenant source",
        "graph_entities.key",
    ),
    "a foreign key comes from outside the plan, of a partitioned table": (
        "CREATE TABLE note (entity text REFERENCES graph_entities) PARTITION BY LIST (entity)",
        plan(),
        "foreign keys from outside the plan: tables",
        "public.note is partitioned",
    ),
    "a foreign key would set the tenant to NULL": (
        (
            "ALTER TABLE graph_relations ADD CONSTRAINT moved "
            "FOREIGN KEY (target_id) REFERENCES graph_entities ON UPDATE SET NULL"
        ),
        plan(),
        "foreign keys onto changing keys",
        "moved",
    ),
    "row-level security is there": (
        "CREATE POLICY theirs ON graph_entities USING (true)",
        plan(),
        "graph_entities: policies",
        "theirs",
    ),
    "the server can't read the pattern": (
        "SELECT",
        plan(pattern=r"^(?P<name>[a-z0-9-]+)$"),
        "pattern",
        "can't read it",
    ),
    "the plan's own tenant breaks the pattern": (
        "SELECT",
        plan(legacy="no tenant!"),
        "pattern",
        "no tenant!",
    ),
    "a tenant can't be worked out, and the plan says stop": (
        "UPDATE graph_entities SET properties = '{}' WHERE id = 'entity-0000000007'",
        plan(unresolved="stop"),
        "graph_entities: tenants worked out",
        "1 of 2000 rows have none, such as (entity-0000000007)",
    ),
    "a tenant breaks the pattern, and the plan says stop": (
        _TWO_WORDS,
        plan(unresolved="stop"),
        "graph_entities: tenants match the pattern",
        "'two words'",
    ),
    "an expression fails on a row": (
        "SELECT",
        with_table("graph_entities", tenant={"expression": "(properties->>'org_id')::int"}),
        "graph_entities: tenants worked out",
        "invalid input syntax",
    ),
    "an edge crosses": (
        "UPDATE graph_relations SET target_id = 'entity-0000000002' WHERE id = 'relation-0000000001'",
        plan(),
        "graph_relations: edges graph_relations_target_id_fkey",
        "1 rows",
    ),
}


@pytest.mark.parametrize("spoiled", STOPS)
def test_what_would_fail_later_stops_with_its_fact_and_a_way_out(operator: Connection, spoiled: str) -> None:
    statement, of, name, word = STOPS[spoiled]
    operator.execute(statement)
    on = ground(operator, of)
    stops = {finding.name: finding for finding in look(on) if finding.level == "stop"}
    assert word in stops[name].fact
    assert stops[name].way_out
    with pytest.raises(GateClosedError) as closed:
        preflight.STAGE.work(on)
    assert closed.value.exit_status == 3
    assert word in str(closed.value)


def test_a_standby_that_refuses_is_warned_of_without_its_password_and_one_that_answers_is_not(
    operator: Connection, sample: str
) -> None:
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))  # and does not listen
        port = refusing.getsockname()[1]
        standbys = [sample, f"postgresql://u:hunter2@127.0.0.1:{port}/d"]
        of = Plan.model_validate(PLAN | {"database": {"url": sample, "standbys": standbys}})
        findings = look(ground(operator, of))
    assert at(findings, "stop") == {}
    (found,) = (finding for finding in findings if finding.name == "standbys")
    assert found.level == "warn"
    assert found.fact == f"PostgreSQL d at 127.0.0.1:{port} (Connection refused)"
    assert "[database] standbys" in found.way_out
    answering = Plan.model_validate(PLAN | {"database": {"url": sample, "standbys": [sample]}})
    assert "standbys" in at(look(ground(operator, answering)), "pass")


WARNINGS: dict[str, tuple[str, Plan, str, str]] = {
    "an index is invalid": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_graph_relations_type'::regclass",
        plan(),
        "graph_relations: invalid indexes",
        "idx_graph_relations_type",
    ),
    "a publication holds a table": (
        "CREATE PUBLICATION feed FOR TABLE graph_relations",
        plan(),
        "logical replication",
        "feed (graph_relations)",
    ),
    "a tenant breaks the pattern": (
        _TWO_WORDS,
        plan(),
        "graph_entities: tenants match the pattern",
        "'two words'",
    ),
    "rows would be quarantined": (
        "UPDATE graph_entities SET properties = '{}' WHERE id < 'entity-0000000010'",
        plan(),
        "graph_entities: tenants worked out",
        "9 of 2000",
    ),
    "children of such rows would be, too": (
        "UPDATE graph_entities SET properties = '{}' WHERE id = 'entity-0000000007'",
        plan(),
        "graph_relations: tenants worked out",
        "of 4000",
    ),
    "edges cross, and the plan takes it": (
        "UPDATE graph_relations SET target_id = 'entity-0000000002' WHERE id = 'relation-0000000001'",
        plan(cross_tenant="quarantine"),
        "graph_relations: edges graph_relations_target_id_fkey",
        "1 rows",
    ),
}


@pytest.mark.parametrize("spoiled", WARNINGS)
def test_what_the_operator_should_know_warns(operator: Connection, spoiled: str) -> None:
    statement, of, name, word = WARNINGS[spoiled]
    operator.execute(statement)
    findings = look(ground(operator, of))
    assert at(findings, "stop") == {}
    assert word in at(findings, "warn")[name]


def test_a_foreign_key_that_only_a_later_server_can_carry_over_stops(operator: Connection) -> None:
    operator.execute(
        "ALTER TABLE graph_relations ADD CONSTRAINT ends FOREIGN KEY (target_id) REFERENCES graph_entities "
        "ON DELETE SET NULL"
    )
    on = ground(operator, plan())
    if operator.info.server_version >= 150_000:
        assert at(look(on), "stop") == {}
    earlier = replace(on, original=on.original.model_copy(update={"server_version": 140_010}))
    assert "ends" in at(look(earlier), "stop")["foreign keys onto changing keys"]


def test_a_server_before_14_stops(operator: Connection) -> None:
    on = ground(operator, plan())
    old = replace(on, original=on.original.model_copy(update={"server_version": 130_020}))
    assert at(look(old), "stop")["server version"] == "PostgreSQL 13.20"


def test_a_backup_that_no_pg_dump_can_take_stops(operator: Connection) -> None:
    on = ground(operator, Plan.model_validate(PLAN | {"backup": {"path": "x"}}))
    new = replace(on, original=on.original.model_copy(update={"server_version": 990_000}))
    assert set(at(look(new), "stop")) == {"backup"}


def test_a_server_that_only_reads_stops(operator: Connection) -> None:
    operator.execute("SET default_transaction_read_only = on")
    assert set(at(look(ground(operator, plan())), "stop")) == {"primary"}


def test_a_logical_subscriber_stops_and_a_column_list_without_the_tenant_passes() -> None:
    with (
        start_postgres(settings={"fsync": "off", "wal_level": "logical"}) as server,
        connect(server.url(), "test") as connection,
    ):
        sample_graph.create(connection)
        connection.execute("CREATE PUBLICATION feed FOR TABLE graph_relations")
        connection.execute("SELECT pg_create_logical_replication_slot('reader', 'pgoutput')")
        on = ground(connection, plan())
        assert at(look(on), "stop") == {"logical replication": "feed (graph_relations)"}
        if connection.info.server_version >= 150_000:
            connection.execute("ALTER PUBLICATION feed SET TABLE graph_relations (id, source_id)")
            assert at(look(on), "stop") == {}


def test_a_source_with_otherwise_leaves_no_row_without_a_tenant(operator: Connection) -> None:
    operator.execute("UPDATE graph_entities SET properties = '{}' WHERE id < 'entity-0000000010'")
    source = {"expression": "properties->>'org_id'", "otherwise": "legacy"}
    found = at(look(ground(operator, with_table("graph_entities", tenant=source))), "pass")
    assert found["graph_entities: tenants worked out"] == "all 2000 rows, 51 tenants"


def test_a_percent_sign_in_the_operators_expression_is_his_own(operator: Connection) -> None:
    source = {"expression": "CASE WHEN id LIKE '%1' THEN 'odd' ELSE 'even' END"}
    found = look(ground(operator, with_table("graph_entities", tenant=source)))
    assert at(found, "pass")["graph_entities: tenants worked out"] == "all 2000 rows, 2 tenants"


def test_a_count_that_takes_too_long_is_given_up_and_said(operator: Connection) -> None:
    source = {"expression": "CASE WHEN pg_sleep(1) IS NULL THEN '' ELSE 'x' END"}
    on = ground(operator, with_table("graph_entities", tenant=source))
    given_up = [finding for finding in rows.look(on, limit_ms=50) if finding.level == "warn"]
    assert {finding.fact for finding in given_up} == {"not counted in 0.05 s"}


def test_a_long_transaction_and_a_session_past_policies_are_named(
    operator: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Five minutes are the product's; the property is that an older one than the limit is named.
    monkeypatch.setattr("control.preflight.server.LONG", 0.0)
    with psycopg.connect(operator.info.dsn, options="", application_name="nightly job") as session:
        session.execute("SELECT 1")
        found = until(lambda: at(look(ground(operator, plan())), "warn"), "the session to be seen")
        assert "nightly job" in found["long transactions"]
        assert "nightly job" in found["sessions past policies"]


def test_a_role_without_the_rights_is_told_which(operator: Connection) -> None:
    operator.execute("CREATE ROLE clerk")
    try:
        operator.execute("GRANT pg_read_all_data TO clerk")
        operator.execute("SET ROLE clerk")
        findings = look(ground(operator, plan()))
    finally:
        operator.execute("RESET ROLE")
        operator.execute("DROP ROLE clerk")
    expected = {"rights on the tables", "right to make schemas", "way past policies"}
    if operator.info.server_version >= 150_000:
        expected.add("right to make indexes")  # before, everybody may make things in `public`
    assert set(at(findings, "stop")) == expected
    assert {"a role to try isolation by", "sight of other sessions"} <= set(at(findings, "warn"))


def _costs(on: Ground) -> dict[str, Estimate]:
    return {estimate.stage: estimate for estimate in estimates(on)}


def test_the_estimate_grows_with_the_rows(operator: Connection) -> None:
    few = _costs(ground(operator, plan()))["backfill"]
    operator.execute("UPDATE pg_class SET reltuples = 20000000 WHERE oid = 'graph_relations'::regclass")
    on = ground(operator, plan())
    many = _costs(on)["backfill"]
    assert many.seconds > 1_000 * few.seconds
    assert many.wal_bytes > 4_000_000_000
    assert "WAL" in at(look(on), "warn")["estimate"]


def test_the_estimate_tells_the_strongest_lock_of_each_stage_and_no_downtime_where_none_is_strong(
    operator: Connection,
) -> None:
    costs = _costs(ground(operator, plan()))
    assert costs["keys"].locks.startswith("ACCESS EXCLUSIVE")
    assert costs["keys"].downtime > 0
    assert {name for name, cost in costs.items() if cost.downtime} == {"columns", "keys", "rls"}
    assert "SHARE UPDATE EXCLUSIVE" in costs["indexes"].locks
    assert costs["indexes"].disk_bytes == costs["indexes"].wal_bytes > 0
