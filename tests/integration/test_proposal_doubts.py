"""What `init` says is left to decide: rows without a tenant and why, edges, and what it didn't read."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from control.plan.model import Plan
from control.plan.proposal import propose
from control.plan.reading import read_plan
from control.preflight.checklist import look
from sql.postgres.connection import Connection, connect
from tests.integration.migrated import ground

#: Organisations with users, folders in folders, documents of users in them, and comments on some.
APP = """
CREATE TABLE organisations (id int PRIMARY KEY, slug text UNIQUE NOT NULL);
INSERT INTO organisations VALUES (1, 'acme'), (2, 'umbra');
CREATE TABLE users (id int PRIMARY KEY, org_id int REFERENCES organisations);
INSERT INTO users VALUES (1, 1), (2, 2), (3, 2);
CREATE TABLE folders (id int PRIMARY KEY, parent_id int REFERENCES folders, owner_id int REFERENCES users);
INSERT INTO folders VALUES (1, NULL, 1), (2, 1, NULL), (3, NULL, 2);
CREATE TABLE documents (
  id int PRIMARY KEY, author_id int NOT NULL REFERENCES users,
  folder_id int NOT NULL REFERENCES folders ON DELETE CASCADE
);
INSERT INTO documents VALUES (1, 1, 1), (2, 1, 2), (3, 3, 3);
CREATE TABLE comments (id int PRIMARY KEY, document_id int REFERENCES documents);
INSERT INTO comments VALUES (1, 1), (2, 3);
CREATE TABLE tags (id int PRIMARY KEY);
CREATE TABLE document_tags (
  document_id int REFERENCES documents, tag_id int REFERENCES tags, PRIMARY KEY (document_id, tag_id)
);
CREATE TABLE visits (id int PRIMARY KEY, document_id int);
INSERT INTO visits VALUES (1, 1), (2, 2);
CREATE TABLE invoices (id int PRIMARY KEY, organisation text);
INSERT INTO invoices VALUES (1, 'acme corp');
"""
SPOIL = """
INSERT INTO folders VALUES (4, NULL, NULL);
INSERT INTO comments VALUES (3, NULL), (4, NULL);
INSERT INTO visits VALUES (3, 9), (4, NULL);
INSERT INTO documents VALUES (4, 3, 1);
"""


@pytest.fixture
def app(database: str) -> Iterator[Connection]:
    with connect(database, "test") as opened:
        opened.execute(APP.encode())
        yield opened


def _notes(text: str) -> dict[str, list[str]]:
    """The comments above each table of the plan."""
    notes: dict[str, list[str]] = {}
    above: list[str] = []
    for line in text.splitlines():
        if line.startswith("# "):
            above.append(line.removeprefix("# "))
        elif line.startswith('name = "') and "[[tables]]" not in notes:
            notes[line.removeprefix('name = "').removesuffix('"')] = above
            above = []
        elif line and line != "[[tables]]":
            above = []
    return notes


def _plan(text: str, folder: Path) -> Plan:
    (folder / "migration.toml").write_text(text, encoding="utf-8")
    return read_plan(folder / "migration.toml")


def test_check_passes_on_what_is_proposed_where_every_row_can_be_told(
    app: Connection, tmp_path: Path
) -> None:
    app.execute("DROP TABLE invoices")
    text = propose(app, url="env:DATABASE_URL")
    findings = look(ground(app, _plan(text, tmp_path)))
    assert [finding for finding in findings if finding.level == "stop"] == []
    assert not [finding for finding in findings if finding.level == "warn" and "worked out" in finding.name]


def test_rows_without_a_tenant_are_counted_and_shown_with_why_they_have_none(
    app: Connection, tmp_path: Path
) -> None:
    app.execute(SPOIL.encode())
    text = propose(app, url="env:DATABASE_URL")
    notes = _notes(text)
    becomes = (
        'tenant.unresolved = "quarantine" sets them aside, "otherwise" gives them to tenant.legacy, and with '
    )
    assert notes["folders"][:2] == [
        f'1 of 4 rows have no tenant, such as (4): {becomes}"stop" `check` stops',
        "parent_id is NULL in 3",
    ]
    assert notes["comments"][0].startswith("2 of 4 rows have no tenant, such as (")
    assert notes["comments"][1] == "document_id is NULL in 2"
    assert notes["visits"][1].startswith("2 of 4 rows have no tenant, such as (")
    assert notes["visits"][2:] == ["document_id is NULL in 1", "document_id names no row of documents in 1"]
    assert notes["invoices"][0].startswith(
        "1 of 1 rows say 'acme corp', which tenant.pattern doesn't let pass"
    )
    # An edge; and what `check` says of the same rows.
    assert (
        "1 rows name another tenant's users by documents_author_id_fkey, such as 3" in notes["documents"][0]
    )
    assert 'with tenant.cross_tenant = "stop" `check` stops there' in notes["documents"][0]
    findings = {finding.name: finding.fact for finding in look(ground(app, _plan(text, tmp_path)))}
    assert findings["visits: tenants worked out"].startswith("2 of 4 rows have none, such as (")
    assert findings["documents: edges documents_author_id_fkey"].startswith("1 rows name a users")


def test_of_a_large_table_a_sample_is_read_and_said(app: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    app.execute("DELETE FROM visits; INSERT INTO visits SELECT n, NULL FROM generate_series(1, 20000) AS n")
    monkeypatch.setattr("control.plan.proposal.server.SMALL", 500_000)
    monkeypatch.setattr("control.plan.proposal.server.SAMPLE_ROWS", 300)
    notes = _notes(propose(app, url="env:DATABASE_URL"))
    assert notes["visits"][1].startswith("300 of 300 rows of a sample have no tenant")


def test_a_large_tree_is_not_walked(app: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.plan.proposal.server.SMALL", 0)
    notes = _notes(propose(app, url="env:DATABASE_URL"))
    not_walked = "folders is a tree, too large to walk in passing"
    assert (
        notes["folders"][0] == f"its rows were not counted by tenant: {not_walked}; `tenantry check` does it"
    )
    assert notes["comments"] == notes["folders"][:1], "they are told by it"
    assert (
        f"documents_author_id_fkey was not looked along for edges to other tenants: {not_walked}"
        in notes["documents"]
    )


def test_rows_that_take_too_long_or_may_not_be_read_cost_an_answer_and_no_proposal(
    app: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.execute(
        "CREATE TYPE org AS ENUM ('acme');"
        "CREATE FUNCTION slowly(org) RETURNS text LANGUAGE sql AS 'SELECT ''acme'' FROM pg_sleep(10)';"
        "CREATE CAST (org AS text) WITH FUNCTION slowly(org);"
        "CREATE TABLE slow (id int PRIMARY KEY, org_id org); INSERT INTO slow VALUES (1, 'acme');"
        "CREATE ROLE stranger; GRANT SELECT ON slow, users, folders, organisations TO stranger"
    )
    monkeypatch.setattr("control.plan.proposal.server.LIMIT_MS", 100)
    try:
        app.execute("SET ROLE stranger")
        text = propose(app, url="env:DATABASE_URL")
    finally:
        app.execute("RESET ROLE; DROP OWNED BY stranger; DROP ROLE stranger")
    notes = _notes(text)
    assert "its rows were not asked whose they are: that took more than 0.1 s" in notes["slow"]
    assert "its rows were not asked whose they are: this user may not read them" in notes["invoices"]
    assert "comments" in {table.name for table in _plan(text, tmp_path).tables}


_TYPES = st.sampled_from(["int", "int NOT NULL"])
_WORDS = st.sampled_from(
    ["org_id int", "org_id int NOT NULL", "tenant text", "account_id int", "note jsonb", "b_id int", "c int"]
)
_REFERENCES = st.lists(st.tuples(st.integers(0, 5), _TYPES, st.booleans()), max_size=3)
_TABLES = st.lists(
    st.tuples(st.lists(_WORDS, max_size=2, unique_by=lambda word: word.split()[0]), _REFERENCES),
    min_size=1,
    max_size=6,
)


def _schema(tables: list[tuple[list[str], list[tuple[int, str, bool]]]]) -> str:
    """Tables `t0`, `t1`, … with a foreign key for each reference, in circles too."""
    made = "".join(
        f"CREATE TABLE t{at} (id int PRIMARY KEY"
        + "".join(f", {word}" for word in words)
        + "".join(f", r{n} {kind}" for n, (_, kind, _) in enumerate(references))
        + ");"
        for at, (words, references) in enumerate(tables)
    )
    return made + "".join(
        f"ALTER TABLE t{at} ADD FOREIGN KEY "
        f"({'account_id' if owned and 'account_id int' in words else f'r{n}'}) "
        f"REFERENCES t{target % len(tables)} {'ON DELETE CASCADE' if owned else ''};"
        for at, (words, references) in enumerate(tables)
        for n, (target, _, owned) in enumerate(references)
    )


@given(_TABLES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_proposed_is_a_plan_that_the_server_can_work_out_whatever_points_to_what(
    app: Connection, tmp_path: Path, tables: list[tuple[list[str], list[tuple[int, str, bool]]]]
) -> None:
    with app.transaction(force_rollback=True):
        app.execute(sql.SQL("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
        app.execute(_schema(tables).encode())
        text = propose(app, url="env:DATABASE_URL")
        plan = _plan(text, tmp_path)
        assert {table.name for table in plan.in_order()} == {table.name for table in plan.tables}
        assert tomllib.loads(text)["name"] == plan.name
        stops = [finding for finding in look(ground(app, plan)) if finding.level == "stop"]
        assert [finding for finding in stops if "source" in finding.name or "tenants" in finding.name] == []
