"""Tables that are under row-level security already: ours narrows what their policies admit, and goes."""

from collections.abc import Iterator
from itertools import groupby

import psycopg
import pytest

from control import locks
from control.embedded.postgres import EmbeddedPostgres
from control.preflight import row_security
from control.preflight.finding import Finding
from control.stage import Ground
from control.stages import columns, rls
from control.verification.checklist import run_checks
from sql.postgres.connection import Connection, connect
from tests.integration.migrated import fill, ground, read, take_back, until_keys
from tests.integration.migrated import take as take_stage
from tests.integration.policed import SEEN, TENANT, entities_in, make_role, row, session_of, taken

#: Half of the rows: 20 of the 40 of each organisation.
ADMITS_HALF = "CREATE POLICY older ON graph_entities USING (id <= 'entity-0000001000')"
UNDER_POLICY = f"ALTER TABLE graph_entities ENABLE ROW LEVEL SECURITY; {ADMITS_HALF}"
COUNT = "SELECT count(*) FROM graph_entities"


@pytest.fixture
def operator(sample: str) -> Iterator[Connection]:
    """Our own session on a copy of the sample whose rows have their tenants and half of them are hidden."""
    with connect(sample, "test") as connection:
        connection.execute(UNDER_POLICY)
        take_stage(columns.STAGE, ground(connection, entities_in("observe")))
        fill(connection)
        yield connection


def test_a_session_sees_what_the_older_policy_admits_and_is_its_tenants(operator: Connection) -> None:
    on: Ground | None = None
    with session_of(operator, "graph_app") as unscoped, session_of(operator, "graph_app") as scoped:
        scoped.execute(TENANT, ["org-07"])
        for mode, seen in (("observe", 1000), ("permissive", 20), ("strict", 0)):
            on = taken(operator, entities_in(mode, tenant={"legacy": "org-03"}), on)
            assert row(unscoped, COUNT) == (seen,), mode
            assert row(scoped, SEEN) == (20, 1), mode
            for key, tenant in (("entity-0000009999", "org-07"), ("entity-0000000999x", "org-08")):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                    scoped.execute(
                        "INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES (%s, 'x', %s)",
                        [key, tenant],
                    )


def test_at_no_step_there_or_back_a_row_is_seen_that_the_older_policy_hides(
    operator: Connection, postgres: EmbeddedPostgres
) -> None:
    before = dumped(postgres, operator)
    on = ground(operator, entities_in("strict"), confirmed=frozenset({"rls"}))
    with session_of(operator, "graph_app") as session:
        seen = list(_every_step(on, session))
    assert max(seen) == 1000
    assert seen[-1] == 1000
    assert dumped(postgres, operator) == before


def _every_step(on: Ground, session: Connection) -> Iterator[int]:
    """What a session without a tenant sees after each step to strict and back."""
    for steps in (rls.STAGE.steps, rls.STAGE.undo):
        for step in steps(on.plan, on.original):
            if not step.done(read(on.connection, on.plan)):
                locks.take(on.connection, step, notify=on.notify)
                assert step.done(read(on.connection, on.plan)), step.what
                yield row(session, COUNT)[0]


@pytest.mark.parametrize("saw", [1000, 2000], ids=["forced", "not forced"])
def test_the_owner_is_held_as_before_and_by_its_tenant(
    operator: Connection, postgres: EmbeddedPostgres, saw: int
) -> None:
    operator.execute("GRANT graph_app TO CURRENT_USER")
    operator.execute("ALTER TABLE graph_entities OWNER TO graph_app")
    if saw == 1000:
        operator.execute("ALTER TABLE graph_entities FORCE ROW LEVEL SECURITY")
    before = dumped(postgres, operator)
    on = ground(operator, entities_in("strict"), confirmed=frozenset({"rls"}))
    with session_of(operator, "graph_app") as owner, session_of(operator, "graph_app") as scoped:
        scoped.execute(TENANT, ["org-07"])
        # Every step but strict leaves the owner what it saw.
        assert [seen for seen, _ in groupby(_every_step(on, owner))] == [saw, 0, saw]
        assert dumped(postgres, operator) == before
        take_stage(rls.STAGE, on)
        assert row(scoped, SEEN) == (saw // 50, 1)
        assert row(owner, SEEN) == (0, 0)


def test_verification_finds_no_fault_with_a_policy_beside_an_older_one(sample: str) -> None:
    with connect(sample, "test") as connection:
        connection.execute(UNDER_POLICY)
        on = ground(connection, entities_in("strict"), confirmed=frozenset({"rls"}))
        until_keys(on)
        take_stage(rls.STAGE, on)
        assert [check for check in run_checks(on) if check.ok is False] == []
        take_back(rls.STAGE, on)
        assert "graph_entities: row-level security holds" in {c.name for c in run_checks(on) if c.ok is False}


@pytest.mark.parametrize(
    ("there", "fact"),
    [
        (ADMITS_HALF, "row-level security is off, and policy older would come into force"),
        (
            UNDER_POLICY + "; CREATE POLICY narrow ON graph_entities AS RESTRICTIVE USING (true)",
            "policy narrow is restrictive",
        ),
        (UNDER_POLICY + "; ALTER POLICY older ON graph_entities RENAME TO by_tenant", "by_tenant is there"),
        (
            UNDER_POLICY + "; ALTER POLICY older ON graph_entities RENAME TO by_tenant_owner",
            "by_tenant_owner is there",
        ),
    ],
    ids=["asleep", "restrictive, the owner free", "our name", "our other name"],
)
def test_preflight_stops_where_joining_would_change_what_others_admit(
    sample: str, there: str, fact: str
) -> None:
    with connect(sample, "test") as connection:
        connection.execute(there)
        finding = policies_of(ground(connection, entities_in("strict")))
    assert finding.level == "stop"
    assert fact in finding.fact
    assert finding.way_out


@pytest.mark.parametrize(
    "there",
    [
        UNDER_POLICY,
        UNDER_POLICY + "; ALTER TABLE graph_entities FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY narrow ON graph_entities AS RESTRICTIVE USING (true)",
        "ALTER TABLE graph_entities ENABLE ROW LEVEL SECURITY",
        "SELECT",
    ],
    ids=["permissive", "restrictive and forced", "on without policies", "nothing"],
)
def test_preflight_passes_where_joining_only_narrows(sample: str, there: str) -> None:
    with connect(sample, "test") as connection:
        connection.execute(there)
        assert policies_of(ground(connection, entities_in("strict"))).level == "pass"


def policies_of(on: Ground) -> Finding:
    """What preflight says about the policies of the entities."""
    look = row_security.look(on, on.plan.table("graph_entities"), on.original.table("graph_entities"))
    return next(finding for finding in look if finding.name == "graph_entities: policies")


def test_a_policy_made_after_preflight_keeps_the_stage_closed(sample: str) -> None:
    with connect(sample, "test") as connection:
        on = ground(connection, entities_in("strict"))
        assert rls.STAGE.gate(on) is None
        connection.execute(ADMITS_HALF)
        closed = rls.STAGE.gate(on)
    assert closed is not None
    assert "policy older would come into force" in closed.facts[0]


def test_preflight_warns_of_whoever_may_truncate(sample: str) -> None:
    with connect(sample, "test") as connection:
        make_role(connection, "graph_cleaner")
        connection.execute("GRANT TRUNCATE ON graph_entities TO graph_cleaner")
        on = ground(connection, entities_in("strict"))
        look = row_security.look(on, on.plan.table("graph_entities"), on.original.table("graph_entities"))
        told = {finding.name: finding for finding in look}["graph_entities: rights to TRUNCATE"]
    assert (told.level, told.fact) == ("warn", "graph_cleaner")


def dumped(server: EmbeddedPostgres, connection: Connection) -> str:
    """The schema, as `pg_dump` writes it."""
    return server.run("pg_dump", "-s", "--restrict-key=x", connection.info.dbname).stdout
