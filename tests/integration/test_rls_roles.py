"""Policies for named roles."""

from collections.abc import Iterator

import pytest

from control.preflight import row_security
from control.preflight.finding import Finding
from control.stages import columns, rls
from control.verification.checklist import run_checks
from sql.postgres.connection import Connection, connect
from tests.integration.migrated import fill, ground, take, until_keys
from tests.integration.policed import SEEN, TENANT, entities_in, make_role, row, session_of, taken

UNDER_POLICY = "ALTER TABLE graph_entities ENABLE ROW LEVEL SECURITY"
ROLES = "SELECT polroles::regrole[]::text[] FROM pg_policy WHERE polname = 'by_tenant'"


@pytest.fixture
def operator(sample: str) -> Iterator[Connection]:
    """Our own session on a copy of the sample whose rows have their tenants, with a role that reads."""
    with connect(sample, "test") as connection:
        make_role(connection, "graph_reader")
        connection.execute("GRANT SELECT ON graph_entities TO graph_reader")
        take(columns.STAGE, ground(connection, entities_in("observe")))
        fill(connection)
        yield connection


def test_a_policy_holds_the_roles_that_the_plan_names_and_admits_no_others(operator: Connection) -> None:
    taken(operator, entities_in("observe", roles=["graph_app"]))
    with session_of(operator, "graph_app") as named, session_of(operator, "graph_reader") as other:
        assert row(named, SEEN) == (2000, 50)
        named.execute(TENANT, ["org-07"])
        assert row(named, SEEN) == (40, 1)
        assert row(other, SEEN) == (0, 0)


def test_roles_that_the_plan_names_later_are_held_by_the_same_policy(operator: Connection) -> None:
    on = taken(operator, entities_in("strict", roles=["graph_app"]))
    assert row(operator, ROLES) == (["graph_app"],)
    on = taken(operator, entities_in("strict", roles=["graph_app", "graph_reader"]), on)
    assert row(operator, ROLES) == (["graph_app", "graph_reader"],)
    taken(operator, entities_in("strict"), on)
    assert row(operator, ROLES) == (["-"],)


def test_a_role_that_is_not_named_sees_beside_older_policies_what_it_saw(operator: Connection) -> None:
    operator.execute(UNDER_POLICY)
    operator.execute("CREATE POLICY all_of_it ON graph_entities USING (true)")
    taken(operator, entities_in("strict", roles=["graph_app"]))
    with session_of(operator, "graph_app") as named, session_of(operator, "graph_reader") as other:
        assert row(named, SEEN) == (0, 0)
        assert row(other, SEEN) == (2000, 50)


@pytest.mark.parametrize(
    ("there", "roles", "level", "fact"),
    [
        ("SELECT", ["graph_app"], "stop", "graph_reader"),
        (UNDER_POLICY, ["graph_app"], "warn", "graph_reader"),
        ("SELECT", ["graph_app", "graph_nobody_made"], "stop", "there is no graph_nobody_made"),
        ("SELECT", ["graph_app", "graph_reader"], "pass", "whoever is graph_app or graph_reader"),
    ],
    ids=["left out", "left out beside older policies", "missing", "all named"],
)
def test_preflight_tells_roles_that_are_left_out_or_missing(
    operator: Connection, there: str, roles: list[str], level: str, fact: str
) -> None:
    operator.execute(there)
    found = said(operator, roles)
    assert (found.level, found.fact) == (level, fact)


def test_a_role_is_held_by_being_a_member_of_one_that_is_named(operator: Connection) -> None:
    make_role(operator, "graph_member")
    operator.execute("GRANT SELECT ON graph_entities TO graph_member")
    named = ["graph_app", "graph_reader"]
    assert said(operator, named).fact == "graph_member"
    operator.execute("GRANT graph_reader TO graph_member")
    try:
        assert said(operator, named).level == "pass"
    finally:
        operator.execute("REVOKE graph_reader FROM graph_member")


def said(operator: Connection, roles: list[str]) -> Finding:
    """What preflight says about the roles of the entities' policy."""
    on = ground(operator, entities_in("strict", roles=roles))
    look = row_security.look(on, on.plan.table("graph_entities"), on.original.table("graph_entities"))
    return next(finding for finding in look if finding.name == "graph_entities: roles of its policy")


def test_verification_tries_isolation_as_one_of_the_named_roles(sample: str) -> None:
    with connect(sample, "test") as connection:
        on = ground(connection, entities_in("strict", roles=["graph_app"]), confirmed=frozenset({"rls"}))
        until_keys(on)
        take(rls.STAGE, on)
        assert [check for check in run_checks(on) if check.ok is False] == []
