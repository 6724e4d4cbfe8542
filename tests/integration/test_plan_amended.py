"""A plan whose `mode` or `roles` are edited once `rls` is done: the next run brings the policies there."""

import json

import psycopg

from tests.integration.operating import Operator, complaint, nobody
from tests.waiting import until

_POLICIES = "SELECT count(*) FROM pg_policy WHERE pg_get_expr(polqual, polrelid) ILIKE '%{}%'"
_OBSERVING, _PERMISSIVE = _POLICIES.format("unscoped"), _POLICIES.format("''default''")
_HELD = "SELECT count(*) FROM pg_policy WHERE polroles = ARRAY['graph_app'::regrole::oid]"
_AGAIN = ("run", "--to", "rls", "--workers", "0")


def test_mode_and_roles_that_are_edited_are_reached_by_the_next_run_and_strict_by_a_new_word_alone(
    operator: Operator,
) -> None:
    operator.edit('quiet = "1s"', 'quiet = "1h"')
    operator.run_to("indexes", count=1)
    operator.run_to("keys")
    operator.done("confirm", "rls")
    operator.run_to("rls")

    operator.edit('mode = "strict"', 'mode = "permissive"')
    operator.edit('policy = "tenant', 'roles = ["graph_app"], policy = "tenant')
    operator.done(*_AGAIN)
    assert (operator.count(_PERMISSIVE), operator.count(_HELD)) == (2, 2)
    operator.done(*_AGAIN)
    kinds = [event["kind"] for event in json.loads(operator.done("events", "--json"))]
    assert kinds.count("amended") == 1, "a plan that says what is there opens nothing"

    operator.edit('mode = "permissive"', 'mode = "strict"')
    with operator.started(*_AGAIN):
        until(lambda: operator.count(_OBSERVING) == 1, "the first policy to observe again")
    assert operator.count(_OBSERVING) == 1, "the word of before was for another plan"
    operator.done("confirm", "rls")
    operator.done(*_AGAIN)
    assert (operator.count(_PERMISSIVE), operator.count(_OBSERVING)) == (0, 0)


def test_a_table_that_was_dropped_since_may_leave_the_plan_and_no_other_may(operator: Operator) -> None:
    whole = operator.plan.read_text()
    operator.run_to("columns")
    operator.plan.write_text(whole[: whole.index("[[tables]]", whole.index("[[tables]]") + 1)])
    refused = operator.tenantry("run", "--to", "indexes")
    assert refused.returncode == 2
    assert "only a table that was dropped since may be left out" in complaint(refused.stderr)

    with psycopg.connect(operator.url) as somebody:
        somebody.execute("DROP TABLE graph_relations")
    operator.plan.write_text(whole)
    refused = operator.tenantry("run", "--to", "indexes")
    assert "If it was dropped, leave it out of the plan" in complaint(refused.stderr)

    operator.plan.write_text(whole[: whole.index("[[tables]]", whole.index("[[tables]]") + 1)])
    operator.run_to("backfill", count=1)
    operator.run_to("keys")
    told = [event["message"] for event in json.loads(operator.done("events", "--json"))]
    assert len([line for line in told if line.startswith("table graph_relations is gone")]) == 1
    assert [table["name"] for table in json.loads(operator.done("status", "--json"))["tables"]] == [
        "graph_entities"
    ]
    operator.back_to(None, nobody)
    assert [
        line for line in operator.schema("--exclude-schema=tenantry").splitlines() if "tenant" in line
    ] == []


def test_a_table_that_was_renamed_since_is_not_taken_for_a_dropped_one(operator: Operator) -> None:
    """Without a guard to keep its function, it kept its column and its policies past the way back."""
    whole = operator.plan.read_text()
    before = operator.schema()
    operator.run_to("columns")
    with psycopg.connect(operator.url) as somebody:
        somebody.execute("CREATE SCHEMA moved; ALTER TABLE graph_relations SET SCHEMA moved")
        somebody.execute("ALTER TABLE moved.graph_relations RENAME TO edges")
    operator.plan.write_text(whole[: whole.index("[[tables]]", whole.index("[[tables]]") + 1)])
    for command in (("run", "--to", "columns"), ("rollback", "--yes")):
        refused = operator.tenantry(*command)
        assert refused.returncode == 2
        assert "table graph_relations was not dropped, it is moved.edges now" in complaint(refused.stderr)

    with psycopg.connect(operator.url) as somebody:
        somebody.execute("ALTER TABLE moved.edges RENAME TO graph_relations")
        somebody.execute("ALTER TABLE moved.graph_relations SET SCHEMA public; DROP SCHEMA moved")
    operator.plan.write_text(whole)
    operator.back_to(None, nobody)
    assert operator.schema("--exclude-schema=tenantry") == before
