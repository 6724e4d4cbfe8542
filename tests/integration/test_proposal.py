"""What `init` proposes for a database that it has never seen."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from control.plan.model import Plan
from control.plan.proposal import propose
from control.plan.reading import read_plan
from control.plan.sections import Index, Table
from sql.errors import GivenWrongError
from sql.postgres import catalog
from sql.postgres.connection import Connection, connect
from sql.tenant_source import Constant, Expression, Parent


@pytest.fixture
def empty(database: str) -> Iterator[Connection]:
    with connect(database, "test") as opened:
        yield opened


def _propose(connection: Connection, folder: Path) -> tuple[Plan, str]:
    text = propose(connection, url="env:DATABASE_URL")
    (folder / "migration.toml").write_text(text, encoding="utf-8")
    return read_plan(folder / "migration.toml"), text


def _tenants(plan: Plan) -> dict[str, object]:
    return {table.name: table.tenant for table in plan.tables}


def test_the_sample_gets_the_plan_of_the_guide(connection: Connection, tmp_path: Path) -> None:
    plan, _ = _propose(connection, tmp_path)
    assert plan.tables == (
        Table.model_validate(
            {
                "name": "graph_entities",
                "tenant": {"expression": "properties->>'org_id'"},
                "indexes": [
                    {"name": "idx_entities_tenant", "columns": ["tenant_id"]},
                    {"name": "idx_entities_tenant_type", "columns": ["tenant_id", "entity_type"]},
                ],
                "primary_key": ["id", "tenant_id"],
                "rls": {"policy": "tenant_isolation_entities"},
            }
        ),
        Table.model_validate(
            {
                "name": "graph_relations",
                "tenant": {"parent": "graph_entities", "on": {"source_id": "id"}},
                "indexes": [
                    {"name": "idx_relations_tenant", "columns": ["tenant_id"]},
                    {"name": "idx_relations_tenant_source", "columns": ["tenant_id", "source_id"]},
                    {"name": "idx_relations_tenant_target", "columns": ["tenant_id", "target_id"]},
                ],
                "primary_key": ["id", "tenant_id"],
                "rls": {"policy": "tenant_isolation_relations"},
            }
        ),
    )


def test_a_column_that_names_an_organisation_becomes_the_tenant(empty: Connection, tmp_path: Path) -> None:
    empty.execute("CREATE TABLE orders (id int PRIMARY KEY, org_id int NOT NULL)")
    plan, _ = _propose(empty, tmp_path)
    assert _tenants(plan) == {"orders": Expression(expression="org_id")}


def test_a_key_in_a_json_column_with_a_reserved_name_is_quoted(empty: Connection, tmp_path: Path) -> None:
    empty.execute('CREATE TABLE notes (id int PRIMARY KEY, "order" json)')
    empty.execute("INSERT INTO notes VALUES (1, '[]'), (2, '{\"organisation\": \"a\"}')")
    plan, text = _propose(empty, tmp_path)
    assert _tenants(plan) == {"notes": Expression(expression="\"order\"->>'organisation'")}
    assert "# 1 of 2 rows have no tenant, such as (1)" in text


def test_a_grandchild_finds_its_tenant_through_the_keys_that_every_row_has(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE a (id int PRIMARY KEY, tenant text);"
        "CREATE TABLE b (id int PRIMARY KEY, maybe int REFERENCES a, surely int NOT NULL REFERENCES a);"
        "CREATE TABLE c (id int PRIMARY KEY, c int REFERENCES c, b int NOT NULL REFERENCES b)"
    )
    plan, _ = _propose(empty, tmp_path)
    assert _tenants(plan) == {
        "a": Expression(expression="tenant"),
        "b": Parent(parent="a", on={"surely": "id"}),
        "c": Parent(parent="b", on={"b": "id"}),
    }


def test_tables_that_say_nothing_belong_to_one_tenant(empty: Connection, tmp_path: Path) -> None:
    empty.execute(
        "CREATE TABLE a (id int PRIMARY KEY, b int);"
        "CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);"
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b"
    )
    plan, _ = _propose(empty, tmp_path)
    assert _tenants(plan) == {"a": Constant(constant="default"), "b": Constant(constant="default")}


def test_what_is_left_out_is_said_with_its_reason(empty: Connection, tmp_path: Path) -> None:
    empty.execute(
        "CREATE TABLE organisations (id int PRIMARY KEY);"
        "CREATE TABLE a (id int PRIMARY KEY, org_id int REFERENCES organisations);"
        "CREATE TABLE keyless (x int);"
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY HASH (id);"
        "CREATE TABLE part PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        "CREATE SCHEMA other; CREATE TABLE other.b (id int PRIMARY KEY)"
    )
    plan, text = _propose(empty, tmp_path)
    assert list(_tenants(plan)) == ["a", "keyless", "parts"]
    assert {line for line in text.splitlines() if line.startswith("# left out")} == {
        "# left out: organisations looks like the list of tenants itself",
        "# left out: other.b is outside the search path",
    }


def test_a_table_without_a_key_and_a_partitioned_one_are_proposed_with_what_can_be_done(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE keyless (org_id int);"
        "CREATE TABLE parts (org_id int PRIMARY KEY) PARTITION BY HASH (org_id);"
        "CREATE TABLE part PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
    )
    plan, text = _propose(empty, tmp_path)
    keyless, parts = plan.tables
    assert keyless.primary_key is None
    assert keyless.rls is not None
    assert (parts.primary_key, parts.rls, parts.indexes) == (None, None, ())
    assert "# has no primary key" in text
    assert "# is partitioned" in text


def test_what_is_unique_is_offered_to_be_so_within_each_tenant_and_left_as_it_is(
    empty: Connection, tmp_path: Path
) -> None:
    """Not what holds the tenant already, is no unique index, or is the primary key."""
    empty.execute(
        "CREATE TABLE a (id int PRIMARY KEY, email text UNIQUE, n int, tenant_id text);"
        "CREATE UNIQUE INDEX its ON a (n, tenant_id);"
        'CREATE UNIQUE INDEX "by ""\\mail" ON a (lower(email)) WHERE n > 1; CREATE INDEX plain ON a (n)'
    )
    plan, text = _propose(empty, tmp_path)
    assert plan.tables[0].unique == ()
    (tmp_path / "migration.toml").write_text(text.replace("# unique =", "unique ="), encoding="utf-8")
    taken = read_plan(tmp_path / "migration.toml")
    assert taken.tables[0].unique == ("a_email_key", 'by "\\mail')
    assert "# Unique in all tenants together, and left so" in text


def test_odd_names_read_back_and_are_those_of_the_tables(empty: Connection, tmp_path: Path) -> None:
    odd = ["a.b", "a'{}\n%\\", "é" * 31]
    for name in odd:
        empty.execute(sql.SQL("CREATE TABLE {0} ({0} int PRIMARY KEY)").format(sql.Identifier(name)))
    plan, _ = _propose(empty, tmp_path)
    live = catalog.read(empty, [table.name for table in plan.tables])
    assert {table.name for table in live.tables.values()} == set(odd)


def test_a_tenant_column_of_another_type_is_left_alone(empty: Connection, tmp_path: Path) -> None:
    empty.execute("CREATE TABLE a (id int PRIMARY KEY, tenant_id int)")
    plan, _ = _propose(empty, tmp_path)
    assert plan.tenant.column == "tenant"
    assert _tenants(plan) == {"a": Expression(expression="tenant_id")}


def test_an_index_name_that_is_taken_is_not_proposed(empty: Connection, tmp_path: Path) -> None:
    empty.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE INDEX idx_a_tenant ON a (id)")
    plan, _ = _propose(empty, tmp_path)
    assert plan.tables[0].indexes == (Index(name="idx_a_tenant_2", columns=("tenant_id",)),)


def test_a_database_without_tables_is_refused(empty: Connection) -> None:
    with pytest.raises(GivenWrongError, match="no table in the search path"):
        propose(empty, url="env:DATABASE_URL")
