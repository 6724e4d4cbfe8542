"""Values that SQL writes in no plain way come through every stage as they are."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from control.conductor import confirm
from sql.sqlite.connection import connect
from tests.integration.sqlite.keyed import GRAPH, GRAPH_PLAN, ways, world

STRICT = """
CREATE TABLE things (id ANY PRIMARY KEY, v ANY) STRICT;
CREATE INDEX things_v ON things (v DESC) WHERE v IS NOT NULL;
"""
STRICT_PLAN = """
[[tables]]
name = "things"
tenant = { constant = "acme" }
primary_key = ["id", "tenant_id"]
"""


@pytest.fixture(autouse=True)
def online() -> Iterator[None]:
    """Every table takes the way beside writers, and its indexes go in entry by entry."""
    with ways(online=True):
        yield


def test_values_of_an_any_column_of_a_strict_table_are_in_its_index_as_they_are(tmp_path: Path) -> None:
    values: list[list[object]] = [["1", "1"], [1, 1], [2, "2.0"], ["x", b"1"]]
    there = world(tmp_path, STRICT, STRICT_PLAN, rows={"things": values})
    there.fill()
    there.run("keys")
    assert there.is_sound()
    found = there.ask("SELECT id FROM things INDEXED BY things_v WHERE v IS NOT NULL AND v = '1'")
    assert found == [("1",)]


@pytest.mark.parametrize(
    ("declared", "keys"),
    [
        ("TEXT", ["a\0b", "a\0c", "a", "b\0"]),
        ("REAL", [float("-inf"), 0.1, 5e-324, float("inf")]),
    ],
    ids=["a NUL", "infinity"],
)
def test_a_key_that_sql_writes_in_no_plain_way_pages_a_table_without_rowid(
    tmp_path: Path, declared: str, keys: list[object]
) -> None:
    there = world(
        tmp_path,
        f"CREATE TABLE things (id {declared} PRIMARY KEY, org TEXT) WITHOUT ROWID",
        STRICT_PLAN.replace('constant = "acme"', 'expression = "org"'),
        rows={"things": [(key, "acme") for key in keys]},
    )
    rows = "SELECT id, hex(id), org FROM things ORDER BY id"
    were = there.ask(rows)
    there.fill()
    there.run()
    assert there.ask(rows) == were
    there.rollback()
    assert there.ask(rows) == were
    assert there.is_sound()


def test_a_text_that_is_no_utf_8_is_looked_at_like_any_other(tmp_path: Path) -> None:
    there = world(tmp_path, GRAPH, GRAPH_PLAN, rows={"entities": [("e", "t", "acme")]})
    with closing(there.connect()) as opened:
        opened.execute("UPDATE entities SET entity_type = CAST(x'c8ff' AS TEXT)")
    there.run("indexes")
    with connect(f"sqlite:///{there.path}") as file:
        confirm(there.plan, file, "application")
    there.run()
    assert there.ask("SELECT hex(entity_type), tenant_id FROM entities") == [("C8FF", "acme")]
