"""Verification: the finished sample passes every check; each fails alone when its fact is broken."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import psycopg
import pytest
from psycopg import sql

from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.stage import Ground
from control.stages import rls, verify
from control.verification.check import Check
from control.verification.checklist import run_checks
from sql.errors import VerificationError
from sql.postgres.catalog import Catalog
from sql.postgres.connection import Connection, connect
from tests.integration.migrated import PLAN, finish, ground, plan, plan_in, take, take_back

_names = count(1)


@dataclass(frozen=True)
class Finished:
    """A database whose sample graph went through every stage, and its catalog before."""

    database: str
    original: Catalog


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, sample_template: str) -> Finished:
    """The finished sample, made once and copied from then on."""
    name = "finished_template"
    operate(
        postgres,
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (name, sample_template))),
    )
    with connect(postgres.url(name), "test") as connection:
        on = ground(connection, plan())
        finish(on)
        return Finished(name, on.original)


@pytest.fixture
def finished(postgres: EmbeddedPostgres, template: Finished) -> Iterator[Ground]:
    """A fresh copy of the finished sample, to be broken."""
    name = f"finished_{next(_names)}"
    operate(
        postgres,
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (name, template.database))),
    )
    with connect(postgres.url(name), "test") as connection:
        yield ground(connection, plan(), template.original)
    operate(postgres, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def operate(server: EmbeddedPostgres, statement: sql.Composed) -> None:
    with psycopg.connect(server.url(), autocommit=True) as operator:
        operator.execute(statement)


def failed(checks: list[Check]) -> set[str]:
    return {check.name for check in checks if check.ok is False}


def check(checks: list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


def silently(connection: Connection, statement: str) -> None:
    """As a fault that neither trigger nor foreign key saw."""
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(statement)


def test_the_finished_sample_passes_every_check(finished: Ground) -> None:
    checks = run_checks(finished)
    assert failed(checks) == set()
    true = {check.name for check in checks if check.ok}
    for table in ("graph_entities", "graph_relations"):
        for command in ("SELECT", "INSERT", "UPDATE", "DELETE", "upsert"):
            assert f"{table}: {command} stays within the tenant" in true
    assert check(checks, "graph_entities: each tenant reaches all of its rows").evidence == (
        "all 50 tenants reach 2000 of their 2000 rows"
    )


def test_verification_leaves_neither_row_nor_role(finished: Ground) -> None:
    rows = "SELECT md5(string_agg(r::text, '' ORDER BY id)) FROM graph_relations AS r"
    roles = "SELECT count(*) FROM pg_roles"
    before = [finished.connection.execute(query).fetchone() for query in (rows, roles)]
    run_checks(finished)
    assert [finished.connection.execute(query).fetchone() for query in (rows, roles)] == before


BROKEN = {
    "graph_entities: SELECT stays within the tenant": """
        CREATE POLICY more ON graph_entities FOR SELECT
        USING (tenant_id = 'org-01' AND current_setting('app.current_tenant_id', true) <> '')""",
    "graph_entities: INSERT stays within the tenant": """
        CREATE POLICY more ON graph_entities FOR INSERT WITH CHECK (true)""",
    "graph_entities: UPDATE stays within the tenant": """
        CREATE POLICY more ON graph_entities FOR UPDATE USING (true)""",
    "graph_entities: DELETE stays within the tenant": """
        CREATE POLICY more ON graph_entities FOR DELETE USING (true)""",
    "graph_relations: upsert stays within the tenant": """
        ALTER TABLE graph_relations DROP CONSTRAINT graph_relations_pkey,
        ADD CONSTRAINT graph_relations_pkey PRIMARY KEY (id, tenant_id) DEFERRABLE""",
    "graph_entities: a session without a tenant is strict": """
        CREATE POLICY more ON graph_entities FOR SELECT
        USING (coalesce(current_setting('app.current_tenant_id', true), '') = '')""",
    "graph_entities: each tenant reaches all of its rows": """
        CREATE POLICY fewer ON graph_entities AS RESTRICTIVE FOR SELECT
        USING (id <> (SELECT 'entity-0000001999'))""",
    "graph_entities: row-level security holds": """
        ALTER TABLE graph_entities NO FORCE ROW LEVEL SECURITY""",
    "graph_entities: every row has a tenant": """
        INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('forgotten', 'x', '')""",
    "graph_entities: every tenant matches the pattern": """
        INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('odd', 'x', 'no tenant!')""",
    "graph_relations: (source_id) stays within the tenant": """
        UPDATE graph_relations
        SET source_id = (SELECT id FROM graph_entities WHERE tenant_id = 'org-01' LIMIT 1)
        WHERE id = (SELECT id FROM graph_relations WHERE tenant_id = 'org-02' LIMIT 1)""",
    "graph_relations: (target_id) stays within the tenant": """
        UPDATE graph_relations SET target_id = 'entity-nowhere'
        WHERE id = (SELECT id FROM graph_relations WHERE tenant_id = 'org-02' LIMIT 1)""",
    "graph_relations: primary key": """
        ALTER TABLE graph_relations DROP CONSTRAINT graph_relations_pkey,
        ADD CONSTRAINT graph_relations_pkey PRIMARY KEY (id)""",
    "graph_relations: foreign keys": """
        ALTER TABLE graph_relations DROP CONSTRAINT graph_relations_target_id_fkey,
        ADD CONSTRAINT graph_relations_target_id_fkey FOREIGN KEY (target_id, tenant_id)
        REFERENCES graph_entities (id, tenant_id) ON DELETE CASCADE NOT VALID""",
    "graph_entities: indexes there and valid": """
        UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_entities_tenant'::regclass""",
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_check_of_a_broken_fact_fails_and_no_other(finished: Ground, name: str) -> None:
    silently(finished.connection, BROKEN[name])
    assert failed(run_checks(finished)) == {name}


def test_a_planner_that_takes_no_index_fails_that_check_alone(finished: Ground) -> None:
    connection = finished.connection
    # A thousand pages and more: fewer are rightly read as a whole.
    connection.execute(
        "INSERT INTO graph_entities (id, entity_type, tenant_id, properties) "
        "SELECT 'more-' || n, 'x', 'org-big', jsonb_build_object('text', repeat('x', 900)) "
        "FROM generate_series(1, 10000) AS n"
    )
    connection.execute("VACUUM ANALYZE graph_entities")
    assert failed(run_checks(finished)) == set()
    connection.execute("SET enable_indexscan = off")
    connection.execute("SET enable_indexonlyscan = off")
    connection.execute("SET enable_bitmapscan = off")
    assert failed(run_checks(finished)) == {"graph_entities: a tenant's query takes an index"}


def with_query(on: Ground, query: str, max_ms: float) -> Ground:
    verified = {"queries": [{"sql": query, "max_ms": max_ms}]}
    return replace(on, plan=Plan.model_validate(PLAN | {"verify": verified}))


def test_a_query_past_its_limit_fails_and_one_within_passes(finished: Ground) -> None:
    slow = with_query(finished, "SELECT pg_sleep(0.02) FROM graph_entities LIMIT 1", 15)
    assert failed(run_checks(slow)) == {"query 1 within 15 ms"}
    fast = with_query(finished, "SELECT count(*) FROM graph_entities WHERE entity_type LIKE '%o%'", 10_000)
    assert check(run_checks(fast), "query 1 within 10000 ms").ok


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("DELETE FROM graph_relations", "read-only"),
        ("SELECT 1; COMMIT; DROP TABLE graph_relations", "multiple commands"),
        ("SELECT * FROM nothing", "does not exist"),
    ],
)
def test_a_query_that_writes_or_is_none_fails_and_does_nothing(
    finished: Ground, query: str, said: str
) -> None:
    on = with_query(finished, query, 1000)
    found = check(run_checks(on), "query 1 within 1000 ms")
    assert found.ok is False
    assert said in found.evidence
    assert finished.connection.execute("SELECT count(*) FROM graph_relations").fetchone() == (4000,)


@pytest.mark.parametrize("mode", ["observe", "permissive"])
def test_the_other_modes_are_verified_as_what_they_are(finished: Ground, mode: str) -> None:
    on = replace(finished, plan=plan_in(mode, legacy="org-03"))
    take(rls.STAGE, on)
    assert failed(run_checks(on)) == set()
    strict = run_checks(finished)
    assert "graph_entities: a session without a tenant is strict" in failed(strict)
    assert "graph_entities: row-level security holds" in failed(strict)


def test_a_table_without_key_and_policy_in_the_plan_says_that_they_are_skipped(finished: Ground) -> None:
    take_back(rls.STAGE, finished)
    tables: list[dict[str, Any]] = [
        {name: value for name, value in table.items() if name not in {"rls", "primary_key"}}
        for table in PLAN["tables"]
    ]
    checks = run_checks(replace(finished, plan=Plan.model_validate(PLAN | {"tables": tables})))
    assert failed(checks) == set()
    assert check(checks, "graph_entities: row-level security").ok is None
    assert check(checks, "graph_entities: primary key").ok is None


def test_a_role_that_may_not_make_roles_is_told_that_isolation_was_not_tried(finished: Ground) -> None:
    finished.connection.execute("CREATE ROLE plain BYPASSRLS IN ROLE pg_read_all_data")
    try:
        finished.connection.execute("SET ROLE plain")
        assert failed(run_checks(finished)) == {"isolation"}
    finally:
        finished.connection.execute("RESET ROLE")
        finished.connection.execute("DROP ROLE plain")


def test_the_stage_takes_the_unneeded_guard_away_and_undoing_brings_it_back(finished: Ground) -> None:
    take(verify.STAGE, finished)
    assert not guards(finished)
    verify.STAGE.work(finished)
    with pytest.raises(psycopg.errors.NotNullViolation):
        finished.connection.execute("INSERT INTO graph_entities (id, entity_type) VALUES ('x', 'x')")
    take_back(verify.STAGE, finished)
    assert len(guards(finished)) == 2


def guards(on: Ground) -> list[Any]:
    return on.connection.execute("SELECT tgrelid FROM pg_trigger WHERE tgname = 'tenantry_guard'").fetchall()


def test_a_guard_that_is_still_needed_stays_and_is_told(finished: Ground) -> None:
    said: list[str] = []

    def insert(line: str) -> None:
        """Old code writes as soon as the stage says that it waits."""
        said.append(line)
        if "goes in" in line:
            finished.connection.execute(
                "INSERT INTO graph_entities (id, entity_type, properties) "
                "VALUES ('x', 'x', jsonb_build_object('org_id', 'org-01'))"
            )

    take(verify.STAGE, replace(finished, plan=plan_in("strict", quiet="500ms"), notify=insert))
    assert len(guards(finished)) == 2
    assert any("stays" in line and "graph_entities (1 times)" in line for line in said)
    assert "graph_entities 1 times" in check(run_checks(finished), "write guard").evidence


def test_the_stage_fails_with_every_false_check_named(finished: Ground) -> None:
    silently(finished.connection, "ALTER TABLE graph_entities NO FORCE ROW LEVEL SECURITY")
    with pytest.raises(VerificationError, match="graph_entities: row-level security holds") as error:
        verify.STAGE.work(finished)
    assert error.value.exit_status == 1
