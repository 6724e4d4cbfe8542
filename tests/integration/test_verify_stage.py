"""Verification: who tries it, what the server saw since the beginning, and the stage around the checks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.stage import Ground
from control.stages import verify
from control.verification import baseline, health
from control.verification.check import Check
from control.verification.checklist import run_checks
from sql.errors import VerificationError
from sql.postgres import aftermath
from sql.postgres.connection import Connection, connect
from tests.integration.finished import check, failed, silently
from tests.integration.migrated import PLAN, plan_in, take, take_back
from tests.servers import start_postgres
from tests.waiting import until


@pytest.fixture
def roles(finished: Ground) -> Iterator[Connection]:
    """A role that may not make roles, and one for it to try isolation by; roles are the server's."""
    connection = finished.connection
    connection.execute("CREATE ROLE plain BYPASSRLS IN ROLE pg_read_all_data, pg_write_all_data")
    connection.execute("CREATE ROLE probe IN ROLE pg_read_all_data")
    yield connection
    connection.execute("RESET ROLE")
    connection.execute("DROP OWNED BY plain, probe")
    connection.execute("DROP ROLE plain, probe")


def test_a_role_that_may_not_make_roles_is_told_that_isolation_was_not_tried(
    finished: Ground, roles: Connection
) -> None:
    roles.execute("GRANT SELECT ON ALL TABLES IN SCHEMA tenantry TO plain")
    roles.execute("SET ROLE plain")
    checks = run_checks(finished)
    assert failed(checks) == set()
    assert check(checks, "isolation").ok is None
    assert "`role` in [verify]" in check(checks, "isolation").evidence


def test_a_role_of_the_plan_tries_isolation_once_it_may(finished: Ground, roles: Connection) -> None:
    on = replace(finished, plan=Plan.model_validate(PLAN | {"verify": {"role": "probe"}}))
    roles.execute("SET ROLE plain")
    refused = check(run_checks(on), "isolation")
    assert refused.ok is False
    for fact in (
        "GRANT probe TO plain",
        "GRANT INSERT, UPDATE, DELETE ON graph_entities TO probe",
    ):
        assert fact in refused.evidence
    roles.execute("RESET ROLE")
    roles.execute("GRANT pg_write_all_data TO probe")
    roles.execute("GRANT probe TO plain")
    roles.execute("SET ROLE plain")
    checks = run_checks(on)
    assert failed(checks) == set()
    assert check(checks, "graph_entities: upsert stays within the tenant").ok
    roles.execute("RESET ROLE")
    roles.execute("CREATE POLICY more ON graph_entities FOR INSERT WITH CHECK (true)")
    roles.execute("SET ROLE plain")
    assert failed(run_checks(on)) == {"graph_entities: INSERT stays within the tenant"}


def test_a_role_that_policies_hold_is_told_that_it_sees_no_rows(finished: Ground, roles: Connection) -> None:
    roles.execute("ALTER ROLE plain NOBYPASSRLS")
    roles.execute("GRANT SELECT ON ALL TABLES IN SCHEMA tenantry TO plain")
    roles.execute("SET ROLE plain")
    checks = run_checks(finished)
    assert failed(checks) == set()
    assert "BYPASSRLS" in check(checks, "graph_entities: its rows").evidence
    assert check(checks, "graph_entities: row-level security holds").ok


def test_a_deadlock_since_the_migration_began_fails_that_check_alone_unless_the_plan_allows_it(
    finished: Ground, postgres: EmbeddedPostgres
) -> None:
    name = finished.connection.info.dbname
    lock = "SELECT pg_advisory_xact_lock(%s)"
    with psycopg.connect(postgres.url(name)) as one, psycopg.connect(postgres.url(name)) as other:
        for session, number in ((one, 1), (other, 2)):
            session.execute("SET LOCAL deadlock_timeout = '10ms'")
            session.execute(lock, [number])
        with ThreadPoolExecutor(1) as beside:
            waiting = beside.submit(one.execute, lock, [2])
            errors: list[BaseException | None] = []
            try:
                other.execute(lock, [1])
            except psycopg.errors.DeadlockDetected as error:
                errors.append(error)
            other.rollback()
            errors.append(waiting.exception())
    assert [type(error) for error in errors if error is not None] == [psycopg.errors.DeadlockDetected]
    until(lambda: "server: deadlocks" in failed(run_checks(finished)), "the deadlock is counted")
    assert failed(run_checks(finished)) == {"server: deadlocks"}
    allowed = Plan.model_validate(PLAN | {"verify": {"max_deadlocks": 1}})
    assert failed(run_checks(replace(finished, plan=allowed))) == set()


def test_errors_in_the_log_since_the_migration_began_are_told_without_ours_and_fail_past_a_limit(
    finished: Ground,
) -> None:
    with (
        start_postgres(settings={"logging_collector": "on", "fsync": "off"}) as server,
        connect(server.url(), "test") as connection,
    ):
        on = replace(finished, connection=connection)
        baseline_of(on)
        for statement in ("SELECT 1 / 0", "/* tenantry a.b */ SELECT 1 / 0"):
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.execute(statement)
        until(lambda: "division by zero" in logged(on).evidence, "the log is written")
        assert logged(on).ok is None
        assert "1 times ERROR: division by zero" in logged(on).evidence
        for most, ok in ((0, False), (1, True)):
            limited = Plan.model_validate(PLAN | {"verify": {"max_log_errors": most}})
            assert logged(replace(on, plan=limited)).ok is ok


def logged(on: Ground) -> Check:
    """What is found in the server's log."""
    return check(list(health.checks(on)), "server: errors in its log")


def baseline_of(on: Ground) -> None:
    """Begin again with what another server has counted."""
    on.memory.remember(
        baseline.MEMORY,
        {
            "counters": asdict(aftermath.counters(on.connection)),
            "log": asdict(found) if (found := aftermath.log(on.connection)) else None,
            "deleted": {},
        },
    )


def test_ways_round_the_policies_are_told(finished: Ground) -> None:
    for statement in (
        "CREATE VIEW everything AS SELECT * FROM graph_entities",
        """CREATE FUNCTION all_of_them() RETURNS bigint LANGUAGE sql SECURITY DEFINER
        AS 'SELECT count(*) FROM graph_entities'""",
        "CREATE POLICY odd ON graph_entities FOR SELECT USING (tenant_id = 'nobody')",
        "GRANT TRUNCATE ON graph_entities TO PUBLIC",
    ):
        finished.connection.execute(statement)
    checks = run_checks(finished)
    assert failed(checks) == set()
    told = check(checks, "graph_entities: ways round row-level security").evidence
    for way in ("view everything", "function all_of_them()", "policy odd", "TRUNCATE by"):
        assert way in told
    assert "superuser" in check(checks, "roles that no policy holds").evidence


def test_a_row_that_was_deleted_is_not_missing(finished: Ground) -> None:
    finished.connection.execute("DELETE FROM graph_relations WHERE tenant_id = 'org-01'")
    name = "graph_relations: no row that was filled is missing"
    until(lambda: check(run_checks(finished), name).ok is True, "the deletion is counted")


def test_without_policies_the_stage_says_what_it_waits_for_and_the_plan_may_shorten_it(
    finished: Ground,
) -> None:
    tables = [{k: v for k, v in table.items() if k != "rls"} for table in PLAN["tables"]]
    bare = Plan.model_validate(PLAN | {"tables": tables, "verify": {"quiet": "200ms"}})
    said: list[str] = []
    take(verify.STAGE, replace(finished, plan=bare, notify=said.append))
    assert not guards(finished)
    assert any("nothing has since" in line and "`quiet` in [verify]" in line for line in said)


def test_the_stage_takes_the_unneeded_guard_away_and_undoing_brings_it_back(finished: Ground) -> None:
    take(verify.STAGE, finished)
    assert not guards(finished)
    verify.STAGE.work(finished)
    with pytest.raises(psycopg.errors.NotNullViolation):
        finished.connection.execute("INSERT INTO graph_entities (id, entity_type) VALUES ('x', 'x')")
    take_back(verify.STAGE, finished)
    assert len(guards(finished)) == 2


def guards(on: Ground) -> list[Any]:
    return on.connection.execute(
        "SELECT tgrelid FROM pg_trigger WHERE tgname = 'zz_tenantry_guard'"
    ).fetchall()


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
