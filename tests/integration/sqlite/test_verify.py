"""Verification of a file: true of one that was migrated, and false of whatever is wrong with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from control.sqlite import conductor
from control.sqlite.verification.checklist import run_checks
from control.verification.check import Check
from sql.sqlite.connection import connect
from tests.integration.operating import nobody
from tests.integration.sqlite.graph_plan import application, migrate, plan_of, run


@pytest.fixture
def migrated(graph: Path) -> Path:
    return migrate(graph)


def change(path: Path, *statements: str) -> None:
    with application(path) as connection:
        for statement in statements:
            connection.execute(statement)


def checks_of(path: Path, **more: Any) -> dict[str, Check]:
    with connect(f"sqlite:///{path}") as file:
        found = run_checks(conductor.survey(plan_of(path, **more), file, nobody))
    return {check.name: check for check in found}


def false(path: Path, **more: Any) -> set[str]:
    return {name for name, check in checks_of(path, **more).items() if check.ok is False}


def test_of_a_migrated_file_nothing_is_false(migrated: Path) -> None:
    found = checks_of(migrated)
    assert {name: check.evidence for name, check in found.items() if check.ok is False} == {}
    assert sum(check.ok is True for check in found.values()) >= 20


def test_each_check_shows_the_statement_that_gave_its_evidence(migrated: Path) -> None:
    for check in checks_of(migrated).values():
        shown = check.shown()
        assert any(word in shown["sql"] for word in ("SELECT", "PRAGMA", "CREATE TEMP VIEW", "{query}")), (
            check
        )
        json.dumps(shown)


def test_verification_leaves_nothing_in_the_file_and_writes_nothing(migrated: Path) -> None:
    with application(migrated) as connection:
        before = [connection.execute("PRAGMA data_version").fetchone(), *connection.iterdump()]
        checks_of(migrated, verify={"queries": ({"sql": "DELETE FROM entities", "max_ms": 1000},)})
        assert [connection.execute("PRAGMA data_version").fetchone(), *connection.iterdump()] == before


def test_before_its_column_is_there_nothing_else_is_asked(graph: Path) -> None:
    run(plan_of(graph), to="backup")
    assert false(graph) == {"entities: tenant column", "relations: tenant column"}


ENTITY = "INSERT INTO entities (id, entity_type, tenant_id) VALUES ('x', 'x', {})"


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        (ENTITY.format("NULL"), "entities: every row has a tenant"),
        (ENTITY.format("'not a tenant'"), "entities: every tenant matches the pattern"),
        (ENTITY.format("'tenant' || char(10)"), "entities: every tenant matches the pattern"),
        (ENTITY.format("x'00'"), "entities: every tenant matches the pattern"),
        ("UPDATE relations SET tenant_id = 'org-9' WHERE id = 'r001'", "relations: (source_id) stays within"),
        ("UPDATE relations SET target_id = 'e000' WHERE id = 'r001'", "relations: (target_id) stays within"),
        ("UPDATE relations SET target_id = 'nobody' WHERE id = 'r001'", "foreign keys hold"),
        ("DROP INDEX idx_entities_tenant", "entities: indexes are there"),
        ("DROP INDEX idx_entities_type", "entities: all else is as it was"),
        ("ALTER TABLE entities DROP COLUMN embedding", "entities: all else is as it was"),
        ("CREATE TABLE tenantry_new_1 (x)", "nothing is left but the ledger"),
    ],
)
def test_what_is_wrong_is_false(migrated: Path, statement: str, check: str) -> None:
    change(migrated, statement)
    assert any(name.startswith(check) for name in false(migrated)), false(migrated)


def rewritten(path: Path, table: str, old: str, new: str) -> None:
    """Make a table anew, from its own text with something else in it."""
    with application(path) as connection:
        (text,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", [table]).fetchone()
        indexes = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL", [table]
        ).fetchall()
        assert old in text
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.execute(f"ALTER TABLE {table} RENAME TO old")
        connection.execute(text.replace(old, new))
        connection.execute(f"INSERT INTO {table} SELECT * FROM old")
        connection.execute("DROP TABLE old")
        for (index,) in indexes:
            connection.execute(index)


@pytest.mark.parametrize(
    ("table", "old", "new", "check"),
    [
        ("entities", 'PRIMARY KEY', 'UNIQUE', "entities: primary key"),
        ("relations", '"source_id", "tenant_id") REFERENCES entities ("id", "tenant_id")',
         'source_id) REFERENCES entities (id)', "relations: foreign keys"),
        ("relations", "ON DELETE CASCADE", "", "relations: foreign keys"),
        ("entities", "DEFAULT '{}'", "", "entities: all else is as it was"),
        ("entities", "entity_type text NOT NULL", "entity_type text", "entities: all else is as it was"),
    ],
)  # fmt: skip
def test_a_table_that_was_made_otherwise_is_found(
    migrated: Path, table: str, old: str, new: str, check: str
) -> None:
    rewritten(migrated, table, old, new)
    assert check in false(migrated)


def test_an_index_that_disagrees_with_its_table_is_found(migrated: Path) -> None:
    with application(migrated) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'tenant_id', 'entity_type') "
            "WHERE name = 'idx_entities_tenant'"
        )
    assert "the file is whole" in false(migrated)


def test_rows_that_broke_a_foreign_key_before_are_told_and_those_since_are_false(
    graph: Path,
) -> None:
    orphan = (
        "INSERT INTO relations (id, relation_type, source_id, target_id) VALUES ('{}', 'x', 'e000', 'no')"
    )
    change(graph, orphan.format("o1"))
    run(plan_of(graph))
    own = "UPDATE relations SET tenant_id = 'org-0' WHERE id LIKE 'o%'"
    change(graph, own)
    assert checks_of(graph)["foreign keys hold"].ok is None
    change(graph, orphan.format("o2"), own)
    assert checks_of(graph)["foreign keys hold"].ok is False


def test_rows_that_are_gone_or_changed_since_it_began_are_told_with_their_columns(migrated: Path) -> None:
    before = checks_of(migrated)
    assert before["entities: no row went missing"].ok is True
    assert before["entities: rows are as they were"].ok is True
    change(migrated, "DELETE FROM relations", "DELETE FROM entities WHERE id < 'e050'")
    change(migrated, "UPDATE entities SET embedding = x'' WHERE id > 'e100'")
    found = checks_of(migrated)
    assert found["entities: no row went missing"].ok is None
    assert "200 when the migration began" in found["entities: no row went missing"].evidence
    assert found["entities: rows are as they were"].ok is None
    assert "embedding of 2" in found["entities: rows are as they were"].evidence
    assert "are gone" in found["entities: rows are as they were"].evidence


def test_a_tenants_view_that_shows_others_would_be_found(
    migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = "sql.sqlite.verify.Seen.by"
    monkeypatch.setattr(view, lambda _seen, _tenant: (1, 1))
    assert "entities: a tenant's view shows its rows alone" in false(migrated)


def test_a_plain_scan_for_a_small_tenant_of_a_large_table_is_false(migrated: Path) -> None:
    change(
        migrated,
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
        "INSERT INTO entities (id, entity_type, tenant_id) SELECT 'n' || i, 'x', 'org-0' FROM n",
    )
    assert "entities: a tenant's query takes an index" not in false(migrated)
    change(migrated, "DROP INDEX idx_entities_tenant")
    assert "entities: a tenant's query takes an index" in false(migrated)


def test_views_and_triggers_that_leave_the_tenant_out_are_told(migrated: Path) -> None:
    change(
        migrated,
        "CREATE VIEW scoped AS SELECT id FROM entities WHERE tenant_id = 'org-1'",
        "CREATE TRIGGER t AFTER DELETE ON relations BEGIN DELETE FROM entities WHERE id = OLD.source_id; END",
    )
    told = checks_of(migrated)["entities: views and triggers without a tenant"]
    assert told.ok is None
    assert told.evidence == "view people; trigger t"


@pytest.mark.parametrize(
    ("query", "most", "ok"),
    [
        ("SELECT count(*) FROM entities WHERE tenant_id = :tenant", 1000, True),
        ("SELECT count(*) FROM entities AS a, entities AS b, entities AS c, entities AS d", 1, False),
        ("SELECT nothing FROM entities", 1000, False),
        ("UPDATE entities SET entity_type = 'x'", 1000, False),
        ("SELECT 1; DELETE FROM entities", 1000, False),
    ],
)
def test_the_plans_own_queries_are_timed_as_its_largest_tenant(
    migrated: Path,
    query: str,
    most: int,
    ok: bool,  # noqa: FBT001  # what is expected
) -> None:
    found = checks_of(migrated, verify={"queries": ({"sql": query, "max_ms": most},)})
    assert found[f"query 1 within {most} ms"].ok is ok
    with application(migrated) as connection:
        assert connection.execute("SELECT count(*) FROM entities WHERE entity_type = 'x'").fetchone() == (0,)


def test_an_integer_key_that_gives_ids_stays_and_is_unique_with_its_tenant(tmp_path: Path) -> None:
    path = tmp_path / "counted.db"
    path.touch()
    change(path, "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text text)")
    tables = ({"name": "notes", "tenant": {"constant": "a"}, "primary_key": ("id", "tenant_id")},)
    run(plan_of(path, tables=tables), to="columns")
    key = "notes: primary key"
    assert key in false(path, tables=tables)
    change(path, "CREATE UNIQUE INDEX notes_id_tenant ON notes (id, tenant_id)")
    assert key not in false(path, tables=tables)
