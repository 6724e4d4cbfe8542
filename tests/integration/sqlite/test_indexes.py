"""The plan's indexes in a file: made, adopted, left to the new table, and refused."""

from pathlib import Path

import pytest

from sql.errors import GateClosedError
from tests.integration.sqlite.keyed import GRAPH, graph, world

PLAN = """
[[tables]]
name = "entities"
tenant = { constant = "acme" }
indexes = [{ name = "idx_entities_tenant", columns = ["tenant_id", "entity_type"] }]
"""


def test_an_index_of_a_table_that_stays_is_made_and_goes_on_the_way_back(tmp_path: Path) -> None:
    there = world(tmp_path, GRAPH, PLAN)
    before = there.schema()
    there.run("indexes")
    assert there.ask("SELECT tbl_name FROM sqlite_schema WHERE name = 'idx_entities_tenant'") == [
        ("entities",)
    ]
    there.rollback()
    assert there.schema() == before


def test_an_index_of_another_name_that_is_the_same_is_adopted(tmp_path: Path) -> None:
    index = "CREATE INDEX own ON entities (tenant_id, Entity_Type);"
    there = world(tmp_path, f"{GRAPH} ALTER TABLE entities ADD COLUMN tenant_id TEXT; {index}", PLAN)
    before = there.schema()
    there.run("indexes")
    there.rollback()
    assert there.schema() == before


def test_another_index_of_that_name_is_refused(tmp_path: Path) -> None:
    there = world(tmp_path, f"{GRAPH} CREATE INDEX idx_entities_tenant ON entities (properties);", PLAN)
    with pytest.raises(GateClosedError, match="another index than the plan's"):
        there.run("indexes")


def test_indexes_of_a_table_that_is_made_anew_come_with_it(tmp_path: Path) -> None:
    there = graph(tmp_path)
    told = there.run("indexes")
    assert any("idx_entities_tenant will be made in keys" in line for line in told)
    assert not there.ask("SELECT 1 FROM sqlite_schema WHERE name = 'idx_entities_tenant'")


def test_what_is_unique_gets_the_tenant_by_its_name_or_its_constraints(tmp_path: Path) -> None:
    there = world(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b TEXT, UNIQUE (b, a));"
        "CREATE UNIQUE INDEX u ON t (lower(b)) WHERE b > ''; INSERT INTO t VALUES (1, 'a', 'b');",
        '[[tables]]\nname = "t"\ntenant = { constant = "acme" }\nprimary_key = ["id", "tenant_id"]\n'
        'unique = ["u", "sqlite_autoindex_t_1"]\n',
    )
    there.fill()
    filled = there.schema()
    there.run("keys")
    there.ask("INSERT INTO t (a, b, tenant_id) VALUES ('a', 'B', 'other') RETURNING id")
    assert there.is_sound()
    with pytest.raises(GateClosedError, match="can't be unique again"):
        there.rollback("application")
    there.ask("DELETE FROM t WHERE tenant_id = 'other' RETURNING id")
    there.rollback("application")
    assert there.schema() == filled


@pytest.mark.parametrize(
    ("schema", "plan", "message"),
    [
        ("CREATE TABLE t (id TEXT PRIMARY KEY, n)", 'primary_key = ["n", "tenant_id"]', "another key can't"),
        ("CREATE TABLE t (id TEXT PRIMARY KEY)", 'unique = ["nothing"]', "no unique index"),
        ("CREATE TABLE t (id TEXT PRIMARY KEY)", 'unique = ["sqlite_autoindex_t_1"]', "primary key of t"),
        (
            "CREATE TABLE t (id TEXT PRIMARY KEY, s TEXT UNIQUE); CREATE TABLE o (s REFERENCES t (s))",
            'unique = ["sqlite_autoindex_t_2"]',
            "has to stay unique",
        ),
    ],
)
def test_what_no_key_can_be_made_of_is_refused_before_anything_is_touched(
    tmp_path: Path, schema: str, plan: str, message: str
) -> None:
    there = world(tmp_path, schema, f'[[tables]]\nname = "t"\ntenant = {{ constant = "acme" }}\n{plan}\n')
    with pytest.raises(GateClosedError, match=message):
        there.run("indexes")


def test_keys_wait_while_an_edge_crosses(tmp_path: Path) -> None:
    there = graph(tmp_path)
    there.fill()
    there.ask("UPDATE relations SET target_id = 'e1' WHERE tenant_id = 'org0' RETURNING id")
    with pytest.raises(GateClosedError, match="name another tenant's entities by"):
        there.run("keys")
