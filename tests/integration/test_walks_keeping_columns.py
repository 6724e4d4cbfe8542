"""`rollback --keep-columns`: policies off, old keys back, no row has a tenant; columns and indexes stay."""

import psycopg
import pytest

from tests.integration.operating import Operator, complaint
from tests.integration.rows import rows_of

_TENANTS = "SELECT count(*) FROM {} WHERE tenant_id <> ''"
_TABLES = ("graph_entities", "graph_relations")


@pytest.fixture
def migrated(operator: Operator) -> Operator:
    """An operator whose migration has gone as far as `rls`; one table's tenant is a constant."""
    operator.edit('quiet = "1s"', 'quiet = "100ms"')
    operator.run_to("indexes", count=1)
    operator.run_to("rls")
    return operator


def _schema(operator: Operator) -> str:
    return operator.schema("--exclude-schema=tenantry")


def test_columns_and_indexes_stay_and_nothing_else_does(operator: Operator) -> None:
    operator.edit('quiet = "1s"', 'quiet = "100ms"')
    before, rows = operator.schema(), rows_of(operator.url)
    operator.run_to("indexes", count=1)
    operator.run_to("rls")
    operator.done("rollback", "--keep-columns", "--yes")

    kept = _schema(operator)
    assert [operator.count(_TENANTS.format(table)) for table in _TABLES] == [0, 0]
    with psycopg.connect(operator.url, autocommit=True) as look:
        names = look.execute(
            "SELECT c.relname FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid "
            "WHERE c.relname LIKE '%tenant%' ORDER BY 1"
        ).fetchall()
        assert ("idx_entities_tenant",) in names
        for table in _TABLES:
            look.execute(f"ALTER TABLE {table} DROP COLUMN tenant_id".encode())
    without = [line for line in _schema(operator).splitlines() if line]
    assert without == [line for line in before.splitlines() if line], "but for the columns it is as it was"
    assert "tenant_id text DEFAULT ''::text NOT NULL" in kept
    assert rows_of(operator.url) == rows


def test_a_kept_column_is_filled_again_by_the_next_run_and_gone_after_a_complete_way_back(
    migrated: Operator,
) -> None:
    end, filled = _schema(migrated), rows_of(migrated.url)
    migrated.done("rollback", "--keep-columns", "--yes")
    migrated.run_to("rls", count=1)
    assert (_schema(migrated), rows_of(migrated.url)) == (end, filled)

    migrated.done("rollback", "--keep-columns", "--yes")
    migrated.done("rollback", "--yes")
    assert "tenant" not in migrated.schema()


def test_it_is_not_both_kept_and_gone(operator: Operator) -> None:
    ended = operator.tenantry("rollback", "--keep-columns", "--to", "columns", "--yes")
    assert ended.returncode == 2
    assert complaint(ended.stderr).startswith("tenantry: --to and --keep-columns")
