"""What keeps a tenant's schema from being made, and the tables from being switched."""

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from sql.errors import GateClosedError, VerificationError
from tests.integration.separated import Separating, differing, of_tables

_OTHERWISE = """
SET session_replication_role = replica;
UPDATE tenant_acme.note SET words = 'otherwise' WHERE id = 2;
"""
_AS_IT_WAS = """
SET session_replication_role = replica;
UPDATE tenant_acme.note SET words = 'as it was' WHERE id = 2;
"""


@pytest.fixture
def migration(database: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> Separating:
    """A table of two tenants, whose migration to schemas has not begun."""
    return of_tables(
        database,
        valkey.url,
        postgres,
        """
        CREATE TABLE note (id integer PRIMARY KEY, org text NOT NULL, words text NOT NULL);
        INSERT INTO note SELECT n, (ARRAY['acme', 'third'])[1 + n % 2], 'as it was'
          FROM generate_series(1, 20) AS n;
        """,
        {"name": "note", "tenant": {"expression": "org"}},
    )


def _done(migration: Separating, statements: str) -> None:
    with psycopg.connect(migration.url, autocommit=True) as connection:
        connection.execute(statements.encode())


def test_a_schema_that_somebody_else_made_is_not_taken_for_a_tenants(migration: Separating) -> None:
    migration.to("backfill")
    _done(migration, "CREATE SCHEMA tenant_acme")
    with pytest.raises(GateClosedError, match="a schema tenant_acme already, and it is not ours"):
        migration.to("schemas")
    _done(migration, "DROP SCHEMA tenant_acme")  # it is still empty
    migration.to("schemas")
    assert differing(migration) == []


def test_a_copy_that_is_not_what_the_shared_table_is_keeps_the_tables_from_being_switched(
    migration: Separating,
) -> None:
    migration.to("schemas")
    _done(migration, _OTHERWISE)
    (difference,) = differing(migration)
    with pytest.raises(GateClosedError) as closed:
        migration.to("switch")
    assert closed.value.facts == [difference]
    # A new tenant has the stage before it made again, which does not call it done either.
    _done(migration, "INSERT INTO note VALUES (21, 'new', 'later')")
    with pytest.raises(VerificationError) as failed:
        migration.to("schemas")
    assert failed.value.failed == [difference]
    _done(migration, _AS_IT_WAS)
    migration.to("switch")
    assert differing(migration) == []


def test_tables_are_not_switched_while_nothing_keeps_the_copies_current(migration: Separating) -> None:
    migration.to("schemas")
    _done(migration, "DROP SCHEMA tenantry_mirror CASCADE")
    with pytest.raises(GateClosedError, match="nothing keeps the tenants' tables current"):
        migration.to("switch")
