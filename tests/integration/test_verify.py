"""Verification: the finished sample passes every check; each fails alone when its fact is broken."""

from dataclasses import replace
from typing import Any

import pytest

from control.plan.model import Plan
from control.stage import Ground
from control.stages import rls
from control.verification.checklist import run_checks
from tests.integration.finished import check, failed, silently
from tests.integration.migrated import PLAN, plan_in, take, take_back
from worker import ledger


def test_the_finished_sample_passes_every_check(finished: Ground) -> None:
    checks = run_checks(finished)
    assert failed(checks) == set()
    true = {check.name for check in checks if check.ok}
    for table in ("graph_entities", "graph_relations"):
        for command in ("SELECT", "INSERT", "UPDATE", "DELETE", "upsert"):
            assert f"{table}: {command} stays within the tenant" in true
    assert check(checks, "graph_entities: each tenant reaches all of its rows").evidence.startswith(
        "all 50 tenants reach 2000 of their 2000 rows"
    )


def test_verification_leaves_neither_row_nor_role(finished: Ground) -> None:
    rows = "SELECT md5(string_agg(r::text, '' ORDER BY id)) FROM graph_relations AS r"
    roles = "SELECT count(*) FROM pg_roles"
    before = [finished.connection.execute(query).fetchone() for query in (rows, roles)]
    run_checks(finished)
    assert [finished.connection.execute(query).fetchone() for query in (rows, roles)] == before


def test_what_a_stage_that_is_not_done_or_another_migration_needs_is_not_to_be_dropped(
    finished: Ground,
) -> None:
    finished.connection.execute("CREATE TABLE other (id int)")
    finished.connection.execute("CREATE UNIQUE INDEX other_pkey_tenantry_new ON other (id)")
    assert failed(run_checks(finished)) == set()
    finished.connection.execute("CREATE UNIQUE INDEX x_tenantry_new ON graph_entities (id, tenant_id)")
    litter = check(run_checks(finished), "nothing is left but the ledger")
    assert litter.evidence == "index x_tenantry_new of graph_entities; DROP what is left"
    ledger.set_stage(finished.connection, finished.migration, "application", "waiting")
    needed = check(run_checks(finished), "nothing is left but the ledger")
    assert needed.evidence == (
        "index x_tenantry_new of graph_entities; application is not done, and needs it: "
        "leave it to `tenantry run`"
    )


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
    "graph_entities: no row that was filled is missing": """
        UPDATE tenantry.batches SET rows = 9000 WHERE rows = 2000""",
    "ledger: every backfill is complete": """
        UPDATE tenantry.jobs SET state = 'stopped' WHERE table_name = 'graph_entities'""",
}


LEFT = {
    "a check of NOT NULL": """
        ALTER TABLE graph_entities ADD CONSTRAINT graph_entities_tenant_id_tenantry_not_null
        CHECK (tenant_id IS NOT NULL) NOT VALID""",
    "a foreign key beside its successor": """
        ALTER TABLE graph_relations ADD CONSTRAINT graph_relations_source_id_fkey_tenantry_new
        FOREIGN KEY (source_id, tenant_id) REFERENCES graph_entities (id, tenant_id)""",
    "an index that no key took": """
        CREATE UNIQUE INDEX graph_entities_pkey_tenantry_old ON graph_entities (id)""",
    "a guard's function": """
        CREATE FUNCTION tenantry_guard.lost() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'""",
    "a guard's sequence": """
        CREATE SEQUENCE tenantry_guard.lost""",
}

#: The same of policies that call nothing, as permissive ones don't.
LEFT_OF_POLICIES = {
    "a schema": "CREATE SCHEMA tenantry_rls",
    "a function": """
        CREATE SCHEMA tenantry_rls;
        CREATE FUNCTION tenantry_rls.lost() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END'""",
}


@pytest.mark.parametrize("what", LEFT)
def test_what_was_made_for_a_while_only_and_is_left_fails_that_check_alone(
    finished: Ground, what: str
) -> None:
    silently(finished.connection, LEFT[what])
    assert failed(run_checks(finished)) == {"nothing is left but the ledger"}


@pytest.mark.parametrize("what", LEFT_OF_POLICIES)
def test_what_policies_called_and_call_no_more_fails_that_check_alone(finished: Ground, what: str) -> None:
    on = replace(finished, plan=plan_in("permissive"))
    take(rls.STAGE, on)
    assert failed(run_checks(on)) == set()
    silently(finished.connection, LEFT_OF_POLICIES[what])
    assert failed(run_checks(on)) == {"nothing is left but the ledger"}


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


def test_of_a_hundred_thousand_tenants_a_few_are_tried_and_it_is_said_how_many(finished: Ground) -> None:
    finished.connection.execute(
        "INSERT INTO graph_entities (id, entity_type, tenant_id) "
        "SELECT 'one-' || n, 'x', 'tenant-' || n FROM generate_series(1, 100000) AS n"
    )
    finished.connection.execute("VACUUM ANALYZE graph_entities")
    checks = run_checks(finished)
    assert failed(checks) == set()
    told = check(checks, "graph_entities: SELECT stays within the tenant").evidence
    assert "as 6 of 100050 tenants" in told
    reached = check(checks, "graph_entities: each tenant reaches all of its rows").evidence
    assert reached.startswith("the sampled 6 of 100050 tenants reach")


def test_every_check_shows_the_statement_that_it_stands_on(finished: Ground) -> None:
    for one in run_checks(finished):
        assert one.shown()["sql"], one.name
