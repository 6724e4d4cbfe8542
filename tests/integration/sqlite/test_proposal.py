"""What `init` proposes for a file that it has never seen."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from control.conductor import confirm
from control.plan.model import Plan
from control.plan.proposal import propose
from control.plan.reading import read_plan
from control.plan.sections import Index, Table, Verify
from control.sqlite import conductor
from sql.errors import GivenWrongError
from sql.sqlite.connection import connect
from sql.tenant_source import Constant, Expression, Lookup, Parent
from tests.integration.sqlite.looked import GRAPH, at, findings

#: Organisations with users, folders in folders, documents of users in them, and comments on some.
APP = """
CREATE TABLE organisations (id INTEGER PRIMARY KEY, slug TEXT UNIQUE NOT NULL);
INSERT INTO organisations VALUES (1, 'acme'), (2, 'umbra');
CREATE TABLE users (id INTEGER PRIMARY KEY, org_id INT REFERENCES organisations);
INSERT INTO users VALUES (1, 1), (2, 2), (3, 2);
CREATE TABLE folders (
  id INTEGER PRIMARY KEY, parent_id INT REFERENCES folders, owner_id INT REFERENCES users
);
INSERT INTO folders VALUES (1, NULL, 1), (2, 1, NULL), (3, NULL, 2);
CREATE TABLE documents (
  id INTEGER PRIMARY KEY, author_id INT NOT NULL REFERENCES users,
  folder_id INT NOT NULL REFERENCES folders ON DELETE CASCADE
);
INSERT INTO documents VALUES (1, 1, 1), (2, 1, 2), (3, 3, 3);
CREATE TABLE comments (id INTEGER PRIMARY KEY, document_id INT REFERENCES documents);
INSERT INTO comments VALUES (1, 1), (2, 3);
CREATE TABLE tags (id INTEGER PRIMARY KEY);
CREATE TABLE document_tags (
  document_id INT REFERENCES documents, tag_id INT REFERENCES tags, PRIMARY KEY (document_id, tag_id)
) WITHOUT ROWID;
CREATE TABLE visits (id INTEGER PRIMARY KEY, document_id INT);
INSERT INTO visits VALUES (1, 1), (2, 2);
"""


def _propose(folder: Path, *statements: str) -> tuple[Plan, str]:
    path = folder / "graph.db"
    with closing(sqlite3.connect(path)) as opened:
        for statement in statements:
            opened.executescript(statement)
    with connect(f"sqlite:///{path}") as file:
        text = propose(file, url=f"sqlite:///{path}")
    (folder / "migration.toml").write_text(text, encoding="utf-8")
    return read_plan(folder / "migration.toml"), text


def _tenants(plan: Plan) -> dict[str, object]:
    return {table.name: table.tenant for table in plan.tables}


def test_the_sample_gets_the_plan_of_the_guide(tmp_path: Path) -> None:
    plan, _ = _propose(tmp_path, GRAPH)
    assert plan.tables == (
        Table.model_validate(
            {
                "name": "entities",
                "tenant": {"expression": "properties->>'org_id'"},
                "indexes": [
                    {"name": "idx_entities_tenant", "columns": ["tenant_id"]},
                    {"name": "idx_entities_tenant_type", "columns": ["tenant_id", "entity_type"]},
                ],
                "primary_key": ["id", "tenant_id"],
            }
        ),
        Table.model_validate(
            {
                "name": "relations",
                "tenant": {"parent": "entities", "on": {"source_id": "id"}},
                "indexes": [
                    {"name": "idx_relations_tenant", "columns": ["tenant_id"]},
                    {"name": "idx_relations_tenant_source", "columns": ["tenant_id", "source_id"]},
                    {"name": "idx_relations_tenant_target", "columns": ["tenant_id", "target_id"]},
                ],
                "primary_key": ["id", "tenant_id"],
            }
        ),
    )
    assert plan.tenant.sentinel_value is None


@pytest.mark.parametrize("statements", [GRAPH, APP])
def test_check_stops_nothing_of_what_is_proposed(statements: str, tmp_path: Path) -> None:
    plan, _ = _propose(tmp_path, statements)
    assert at(findings(plan), "stop") == {}


def test_tables_take_their_tenants_from_lists_trees_foreign_keys_and_names(tmp_path: Path) -> None:
    plan, text = _propose(tmp_path, APP)
    assert _tenants(plan) == {
        "users": Expression(expression="org_id"),
        "folders": Parent(
            parent="folders", on={"parent_id": "id"}, otherwise=Parent(parent="users", on={"owner_id": "id"})
        ),
        "documents": Parent(parent="folders", on={"folder_id": "id"}),
        "comments": Parent(parent="documents", on={"document_id": "id"}),
        "document_tags": Parent(parent="documents", on={"document_id": "id"}),
        "visits": Parent(parent="documents", on={"document_id": "id"}),
    }
    assert "# left out: organisations looks like the list of tenants itself" in text
    assert "# left out: tags says nothing of tenants" in text
    assert "# nothing but its name says that document_id is of documents" in text


def test_a_list_that_says_what_tenants_are_called_is_looked_up(tmp_path: Path) -> None:
    plan, _ = _propose(
        tmp_path,
        "CREATE TABLE org_tenants (org_id INTEGER PRIMARY KEY, tenant TEXT NOT NULL);"
        "INSERT INTO org_tenants VALUES (1, 'acme');"
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, org_id INTEGER NOT NULL);"
        "INSERT INTO orders VALUES (1, 1)",
    )
    assert _tenants(plan) == {
        "orders": Lookup(lookup="org_tenants", on={"org_id": "org_id"}, column="tenant")
    }


def test_texts_that_are_no_json_are_passed_over(tmp_path: Path) -> None:
    plan, text = _propose(
        tmp_path,
        'CREATE TABLE notes (id INTEGER PRIMARY KEY, "order" TEXT);'
        "INSERT INTO notes VALUES (1, 'no json'), (2, '{\"organisation\": \"a\"}'), (3, '[]')",
    )
    expression = 'CASE WHEN json_valid("order") THEN "order"->>\'organisation\' END'
    assert _tenants(plan) == {"notes": Expression(expression=expression)}
    assert "# 2 of 3 rows have no tenant, such as 1, 3" in text
    assert at(findings(plan), "stop") == {}


def test_rows_without_a_tenant_and_edges_are_counted_and_shown(tmp_path: Path) -> None:
    _, text = _propose(
        tmp_path,
        APP,
        "INSERT INTO comments VALUES (3, NULL), (4, 9); INSERT INTO documents VALUES (4, 3, 1)",
    )
    assert "# 2 of 4 rows have no tenant, such as 3, 4" in text
    assert "# document_id is NULL in 1" in text
    assert "# document_id names no row of documents in 1" in text
    assert "# 1 rows name another tenant's users by author_id, such as 4" in text


def test_of_a_large_table_a_sample_is_read_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.plan.proposal.file.SMALL", 1_000)
    monkeypatch.setattr("control.plan.proposal.file.SAMPLE_ROWS", 500)
    many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000)"
    _, text = _propose(
        tmp_path,
        f"CREATE TABLE a (id INTEGER PRIMARY KEY, org_id TEXT); {many} INSERT INTO a SELECT i, NULL FROM n;"
        f"UPDATE a SET org_id = 'x' WHERE id > 2500",
        f"CREATE TABLE b (id TEXT PRIMARY KEY, a_id INT REFERENCES a) WITHOUT ROWID;"
        f"{many} INSERT INTO b SELECT 'b' || i, i FROM n",
    )
    assert "# 250 of 500 rows of a sample have no tenant" in text
    assert "rows of a sample have no tenant, such as b" in text


def test_a_table_that_is_its_own_parent_and_large_is_not_walked_in_passing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.plan.proposal.file.SMALL", 2)
    _, text = _propose(tmp_path, APP)
    assert "its rows were not counted by tenant: folders is a tree, too large to walk in passing" in text


def test_what_is_unique_is_offered_to_be_so_within_each_tenant(tmp_path: Path) -> None:
    """Not what holds the tenant already, is no unique index, or is the primary key."""
    plan, text = _propose(
        tmp_path,
        "CREATE TABLE a (id TEXT PRIMARY KEY, email TEXT UNIQUE, n INT, tenant_id TEXT);"
        "CREATE UNIQUE INDEX its ON a (n, tenant_id); CREATE INDEX plain ON a (n);"
        "CREATE UNIQUE INDEX by_mail ON a (lower(email)) WHERE n > 1",
    )
    assert plan.tables[0].unique == ()
    (tmp_path / "migration.toml").write_text(text.replace("# unique =", "unique ="), encoding="utf-8")
    assert set(read_plan(tmp_path / "migration.toml").tables[0].unique) == {"sqlite_autoindex_a_2", "by_mail"}


def test_odd_names_read_back_and_are_those_of_the_tables(tmp_path: Path) -> None:
    odd = ["a'{}\n%\\", "é" * 31, "select", 'quo"ted']
    names = ['"' + name.replace('"', '""') + '"' for name in odd]
    plan, _ = _propose(
        tmp_path,
        *(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, org_id TEXT); " for name in names),
        *(f"INSERT INTO {name} VALUES (1, 'acme')" for name in names),
    )
    assert {table.name for table in plan.tables} == set(odd)
    assert at(findings(plan), "stop") == {}


def test_a_tenant_column_of_numbers_is_left_alone(tmp_path: Path) -> None:
    plan, _ = _propose(tmp_path, "CREATE TABLE a (id INTEGER PRIMARY KEY, tenant_id INTEGER)")
    assert plan.tenant.column == "tenant"
    assert _tenants(plan) == {"a": Expression(expression="tenant_id")}


def test_a_tenant_column_that_is_there_is_filled_where_it_is_null(tmp_path: Path) -> None:
    plan, text = _propose(tmp_path, "CREATE TABLE a (id INTEGER PRIMARY KEY, tenant_id TEXT)")
    assert _tenants(plan) == {"a": Constant(constant="default")}
    assert "# has tenant_id already: only rows that hold none there get this tenant" in text


def test_an_index_name_that_is_taken_is_not_proposed(tmp_path: Path) -> None:
    """By an index, or by a table."""
    plan, _ = _propose(
        tmp_path,
        "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE idx_a_tenant (id INTEGER PRIMARY KEY)",
    )
    assert plan.tables[0].indexes == (Index(name="idx_a_tenant_2", columns=("tenant_id",)),)


def test_a_virtual_table_is_left_out_with_its_reason(tmp_path: Path) -> None:
    plan, text = _propose(
        tmp_path, "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE VIRTUAL TABLE f USING fts5(x)"
    )
    assert list(_tenants(plan)) == ["a"]
    assert "# left out: f is a virtual table" in text


def test_a_file_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GivenWrongError, match=r"graph\.db: no table in it"):
        _propose(tmp_path, "PRAGMA user_version = 1")


@pytest.mark.parametrize("statements", [GRAPH, APP])
def test_a_run_goes_through_what_is_proposed(statements: str, tmp_path: Path) -> None:
    proposed, _ = _propose(tmp_path, statements)
    plan = proposed.model_copy(update={"verify": Verify(quiet="100ms")})
    with conductor.controller(plan) as file:
        conductor.run(plan, file, to="indexes", notify=lambda _line: None)
        confirm(plan, file, "application")
        conductor.run(plan, file, notify=lambda _line: None)
        without = {
            table.name: file.value(f'SELECT count(*) FROM "{table.name}" WHERE tenant_id IS NULL')
            for table in plan.tables
        }
    assert set(without.values()) == {0}
