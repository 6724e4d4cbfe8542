"""A plan whose `mode` or `roles` are edited once `rls` is done: the next run brings the policies there."""

import json

from tests.integration.operating import Operator
from tests.waiting import until

_POLICIES = "SELECT count(*) FROM pg_policy WHERE pg_get_expr(polqual, polrelid) ILIKE '%{}%'"
_OBSERVING, _PERMISSIVE = _POLICIES.format("unscoped"), _POLICIES.format("coalesce")
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
        until(lambda: operator.count(_OBSERVING) == 1, 60, "the first policy to observe again")
    assert operator.count(_OBSERVING) == 1, "the word of before was for another plan"
    operator.done("confirm", "rls")
    operator.done(*_AGAIN)
    assert (operator.count(_PERMISSIVE), operator.count(_OBSERVING)) == (0, 0)
