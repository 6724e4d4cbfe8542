"""What an operator may ask of rows by `tenants assign --where`."""

import json

import psycopg
import pytest

from tests.integration.operating import Operator, complaint
from tests.integration.rows import rows_of
from tests.integration.test_assign import single

__all__ = ["single"]


@pytest.fixture
def filled(single: Operator) -> Operator:
    """An operator whose rows are all of one tenant."""
    single.run_to("backfill")
    return single


def _assign(operator: Operator, where: str) -> tuple[int, str]:
    ended = operator.tenantry("tenants", "assign", "acme", "--where", where, "--yes", "--no-throttle")
    return ended.returncode, ended.stderr


def test_a_condition_that_cant_be_asked_of_each_row_changes_nothing_and_says_why(filled: Operator) -> None:
    before = rows_of(filled.url)
    for where, said in [
        ("true); DELETE FROM graph_relations; SELECT (true", "syntax error"),
        ("true; DELETE FROM graph_relations", "syntax error"),
        ("true) GROUP BY (id", "syntax error"),
        ("id = 'it''s", "unterminated quoted string"),
        ("id", "types text and boolean"),
        ("id = $1", "no parameter $1"),
        ("random() < 0.5", "random() may say something else each time"),
        ("id IN (SELECT id FROM graph_entities ORDER BY random() LIMIT 9)", "random() may say"),
        ("1 / (length(id) - 17) > 0", "--where fails for a row: division by zero"),
        ("id = (SELECT id FROM graph_entities)", "--where fails for a row: more than one row"),
    ]:
        status, stderr = _assign(filled, where)
        assert status == 2, (where, stderr)
        assert said in complaint(stderr)
        assert rows_of(filled.url) == before


def test_a_condition_may_hold_signs_that_mean_something_elsewhere(filled: Operator) -> None:
    status, stderr = _assign(
        filled,
        "id LIKE 'entity-%' AND id <> '{x};' AND properties->>'org_id' = 'org-01' AND created_at < now()"
        " AND t.id IN (SELECT id FROM graph_entities)",
    )
    assert status == 0, stderr
    assert filled.count("SELECT count(*) FROM graph_entities WHERE tenant_id = 'acme'") == 40


def test_moments_without_end_are_no_activity(filled: Operator) -> None:
    with psycopg.connect(filled.url) as somebody:
        somebody.execute("UPDATE graph_entities SET updated_at = 'infinity' WHERE id < 'entity-0000000100'")
    (default,) = json.loads(filled.done("tenants", "list", "--json"))
    assert default["rows"] == {"graph_entities": 2000, "graph_relations": 4000}
    assert default["last_activity"]
