"""After the switch: tenants' tables alone are found, the shared ones are the way back."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from control import conductor
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.tenants import asking, listing
from control.verification import separated
from sql.errors import AssignmentError, GateClosedError
from tests.integration.separated import THING, Separating, separating
from worker import ledger


@pytest.fixture(scope="module")
def switched(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> Iterator[Separating]:
    """A migration that is past `verify`."""
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute("CREATE DATABASE switched")
    migration = separating(postgres.url("switched"), valkey.url, postgres)
    migration.to("schemas")
    migration.to("verify")
    yield migration
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute("DROP DATABASE switched WITH (FORCE)")


@pytest.fixture
def acme(switched: Separating) -> Iterator[psycopg.Connection]:
    """A session of new code, for one tenant."""
    with psycopg.connect(switched.url, autocommit=True) as connection:
        connection.execute("SET search_path = tenant_acme, public")
        yield connection


def _one(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def test_whoever_has_no_tenant_finds_no_table(switched: Separating) -> None:
    with psycopg.connect(switched.url) as old, pytest.raises(errors.UndefinedTable):
        old.execute("SELECT FROM entity")


def test_a_row_keeps_its_tenant_whatever_the_write_guard_would_tell(acme: psycopg.Connection) -> None:
    acme.execute("INSERT INTO entity VALUES ('k1', 'acme')")
    acme.execute("UPDATE entity SET org = 'third' WHERE id = 'k1'")
    assert _one(acme, "SELECT org || tenant_id FROM entity_shared WHERE id = 'k1'") == "thirdacme"
    acme.execute("UPDATE entity SET org = 'acme' WHERE id = 'k1'")


def test_the_applications_triggers_fire_once_and_for_the_tenants_table(acme: psycopg.Connection) -> None:
    acme.execute("INSERT INTO entity VALUES ('t1', 'acme')")
    acme.execute(f"INSERT INTO {THING} (id, owner, name) VALUES (7001, 't1', 'once')")
    acme.execute(f"UPDATE {THING} SET amount = 7 WHERE id = 7001")
    fired = acme.execute("SELECT tg_op FROM fired WHERE name = 'once' ORDER BY at").fetchall()
    assert fired == [("INSERT",), ("UPDATE",)]
    shared = acme.execute('SELECT touched, twice FROM "Odd %s {} thing_shared" WHERE id = 7001').fetchall()
    assert shared == acme.execute(f"SELECT touched, twice FROM {THING} WHERE id = 7001").fetchall()
    assert shared[0][0] == 1


def test_foreign_keys_are_what_they_were(acme: psycopg.Connection) -> None:
    acme.execute("INSERT INTO entity VALUES ('f1', 'acme')")
    acme.execute(f"INSERT INTO {THING} (id, owner, name) VALUES (7101, 'f1', 'held')")
    with pytest.raises(errors.IntegrityError, match="thing"):
        acme.execute("DELETE FROM entity WHERE id = 'f1'")
    asked = """SELECT conname, confdeltype, condeferrable, condeferred, convalidated FROM pg_constraint
        WHERE contype = 'f' AND connamespace = 'tenant_acme'::regnamespace ORDER BY conname"""
    assert acme.execute(asked).fetchall() == [
        ("Odd %s {} thing_owner_fkey", "r", False, False, True),
        ("its %s {} target", "c", False, False, True),
        ("relation_source_fkey", "c", False, False, True),
        ("thing_up", "a", True, True, True),
    ]
    acme.execute(f"DELETE FROM {THING} WHERE id = 7101")


def test_what_was_written_since_the_switch_is_there_on_the_way_back(
    switched: Separating, acme: psycopg.Connection
) -> None:
    acme.execute("INSERT INTO entity VALUES ('b1', 'acme', 'back')")
    acme.execute("INSERT INTO relation (source, target) VALUES ('b1', 'b1')")
    acme.execute("DELETE FROM relation WHERE source = 'e5'")
    mine = switched.rows("tenant_acme")
    switched.back("application")
    assert _one(acme, "SELECT name FROM public.entity WHERE id = 'b1'") == "back"
    assert _one(acme, "SELECT count(*) FROM public.relation WHERE source IN ('b1', 'e5')") == 1
    assert switched.rows("tenant_acme") == mine
    switched.to("verify")
    assert switched.rows("tenant_acme") == mine


def test_once_an_id_exists_in_two_tenants_there_is_no_way_back(
    switched: Separating, acme: psycopg.Connection
) -> None:
    acme.execute("INSERT INTO entity VALUES ('e1', 'acme', 'also mine')")  # Big-Co's is called so too
    acme.execute("UPDATE entity SET name = 'still mine' WHERE id = 'e1'")
    assert _one(acme, "SELECT name FROM entity_shared WHERE id = 'e1'") == "n1", "the other tenant's is kept"
    with pytest.raises(GateClosedError, match="another tenant has too"):
        switched.back("application")
    acme.execute("DELETE FROM entity WHERE id = 'e1'")
    assert _one(acme, "SELECT count(*) FROM entity_shared WHERE id = 'e1'") == 1


def test_no_row_is_assigned_to_another_tenant_once_each_has_a_schema(switched: Separating) -> None:
    with conductor.controller(switched.plan) as connection:
        with pytest.raises(AssignmentError, match="in a schema of its own"):
            asking.ground(switched.plan, connection)
        assert {one.tenant for one in listing.standings(connection, switched.plan)} >= {"acme", "Big-Co"}


def test_what_serves_the_way_back_is_dropped_as_the_document_says(
    switched: Separating, acme: psycopg.Connection
) -> None:
    """The last one here: from then on there is no way back, and the tenants' tables do without."""
    sequence = '"Odd %s {} thing_id_seq"'
    acme.execute(f"ALTER SEQUENCE {sequence} OWNED BY NONE")
    acme.execute("DROP SCHEMA tenantry_mirror CASCADE")
    acme.execute('DROP TABLE entity_shared, relation_shared, "Odd %s {} thing_shared"')
    acme.execute("ALTER TABLE relation ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (START WITH 10000)")
    acme.execute("INSERT INTO entity VALUES ('d1', 'acme')")
    acme.execute("INSERT INTO relation (source, target) VALUES ('d1', 'd1')")
    acme.execute(f"INSERT INTO {THING} (owner, name) VALUES ('d1', 'dropped')")
    with pytest.raises(GateClosedError, match="once what serves it is dropped"):
        switched.back("application")


def test_before_the_switch_only_the_names_are_not_as_they_are_to_be(
    database: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    migration = separating(database, valkey.url, postgres)
    migration.to("schemas")
    with conductor.controller(migration.plan) as connection:
        known = ledger.read(connection, migration.plan.name)
        ground = conductor.ground_of(migration.plan, connection, known, lambda _line: None)
        found = separated.run_checks(ground)
    assert [check.name for check in found if check.ok is False] == ["shared tables are out of the way"]
