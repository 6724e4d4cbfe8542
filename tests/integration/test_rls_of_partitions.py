"""Row-level security of partitioned tables: asked as a whole or by a partition's own name, and away again."""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import errors, sql

from control.arrivals import taken_along
from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.policies import of_table
from control.preflight import tables
from control.stage import Ground
from control.stages import columns, rls
from control.verification import isolation
from control.verification.check import Subject
from sql.postgres.connection import connect
from sql.postgres.verify import Tenants
from tests.integration.migrated import ground, take, take_back
from tests.integration.walking import Walker

#: Two levels; one of the partitions was under row-level security already, by a policy of its own.
SCHEMA = """
CREATE TABLE reading (at date NOT NULL, sensor int NOT NULL, org text) PARTITION BY RANGE (at);
CREATE TABLE before PARTITION OF reading FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
CREATE TABLE later PARTITION OF reading DEFAULT PARTITION BY LIST (sensor);
CREATE TABLE "later %" PARTITION OF later DEFAULT;
CREATE TABLE later_7 PARTITION OF later FOR VALUES IN (7);
CREATE POLICY theirs ON later_7 USING (sensor < 100);
ALTER TABLE later_7 ENABLE ROW LEVEL SECURITY;
INSERT INTO reading SELECT day, n % 10, CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'other' END
FROM generate_series(1, 400) AS n, (VALUES (date '2024-06-01'), ('2026-06-01')) AS days (day);
"""

PLAN: dict[str, Any] = {
    "name": "parts",
    "database": {"url": "postgresql:///"},
    "tables": [
        {
            "name": "reading",
            "tenant": {"expression": "org"},
            "rls": {"policy": "by tenant", "mode": "strict", "quiet": "100ms"},
        }
    ],
}

NAMES = ("reading", "before", "later", '"later %"', "later_7")


@pytest.fixture
def walker(database: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker whose rows have their tenants: just before the policies."""
    with connect(database, "test") as connection:
        connection.execute(SCHEMA.encode())
        walker = Walker(connection, Plan.model_validate(PLAN), postgres)
        walker.there(columns.STAGE)
        connection.execute("UPDATE reading SET tenant_id = org")
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader")
        connection.execute(f"GRANT SELECT, INSERT ON {', '.join(NAMES)} TO reader".encode())
        yield walker
        connection.execute("DROP OWNED BY reader; DROP ROLE reader")


def _confirmed(walker: Walker) -> Ground:
    return ground(walker.connection, walker.plan, walker.original, confirmed=frozenset({"rls"}))


def _seen(walker: Walker, table: str, tenant: str | None) -> set[str]:
    """The tenants whose rows a role that bypasses nothing sees in a table."""
    with walker.connection.transaction(force_rollback=True):
        walker.connection.execute("SET LOCAL ROLE reader; SET LOCAL row_security = on")
        walker.connection.execute("SELECT set_config('app.current_tenant_id', %s, true)", [tenant or ""])
        rows = walker.connection.execute(f"SELECT DISTINCT tenant_id FROM {table}".encode())
        return {tenant for (tenant,) in rows}


def test_whole_and_partitions_show_a_tenant_its_rows_alone_and_go_back_to_the_schema_before(
    walker: Walker,
) -> None:
    before = walker.schema()
    take(rls.STAGE, _confirmed(walker))
    for table in NAMES:
        assert _seen(walker, table, None) == set(), table
    for table in ("reading", "before", "later", '"later %"'):
        assert _seen(walker, table, "acme") == {"acme"}, table
    for table in ("reading", "before"):
        with walker.connection.transaction(force_rollback=True):
            walker.connection.execute("SET LOCAL ROLE reader; SET LOCAL row_security = on")
            walker.connection.execute("SET LOCAL app.current_tenant_id = 'acme'")
            with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                walker.connection.execute(
                    sql.SQL("INSERT INTO {} VALUES ('2020-01-01', 1, 'x', 'other')").format(
                        sql.Identifier(table)
                    )
                )
    assert rls.STAGE.gate(_confirmed(walker)) is None
    take_back(rls.STAGE, _confirmed(walker))
    assert walker.schema() == before


def test_a_policy_that_a_partition_had_is_joined(walker: Walker) -> None:
    targets = {
        t.table.name: t for t in of_table("reading", _security(walker), walker.original.table("reading"))
    }
    assert [name for name, target in targets.items() if target.joined] == ["later_7"]
    take(rls.STAGE, _confirmed(walker))
    found = targets["later_7"].find(walker.live())
    assert found is not None
    assert {(policy.name, policy.permissive) for policy in found.policies} == {
        ("theirs", True),
        ("by tenant", False),
        ("by tenant_owner", True),
    }


def test_verify_tells_of_a_partition_that_came_without_the_policy_until_the_next_run(walker: Walker) -> None:
    on = _confirmed(walker)
    take(rls.STAGE, on)
    assert _verified(walker) == (True, "policy by tenant is strict, on and forced")
    walker.connection.execute("CREATE TABLE later_8 PARTITION OF later FOR VALUES IN (8000)")
    ok, evidence = _verified(walker)
    assert not ok
    assert 'row-level security is off on "public"."later_8"' in evidence
    walker.original = taken_along(walker.connection, walker.plan, walker.original)
    assert rls.STAGE.amended(_confirmed(walker)), "so that a run goes through the stage again"
    take(rls.STAGE, _confirmed(walker))
    assert _verified(walker) == (True, "policy by tenant is strict, on and forced")


def test_a_partition_that_is_none_any_more_is_left_alone(walker: Walker) -> None:
    take(rls.STAGE, _confirmed(walker))
    walker.connection.execute("ALTER TABLE reading DETACH PARTITION before")
    take_back(rls.STAGE, _confirmed(walker))
    table = walker.live().table("reading")
    assert not any(part.policy("by tenant") for part in (table, *table.branches, *table.partitions))


def test_preflight_lets_policies_on_partitioned_tables_pass(walker: Walker) -> None:
    found = list(tables.look(_confirmed(walker)))
    assert [finding for finding in found if finding.level == "stop"] == []


def _security(walker: Walker) -> Any:
    return walker.plan.table("reading").rls


def _verified(walker: Walker) -> tuple[bool | None, str]:
    table, live = walker.plan.table("reading"), walker.live()
    subject = Subject(
        walker.connection,
        walker.plan,
        table,
        taken_along(walker.connection, walker.plan, walker.original).table("reading"),
        live.table("reading"),
        Tenants(0, 0, 0, [], 0, []),
    )
    check = isolation.policy(subject, _security(walker), live)
    return check.ok, check.evidence
