"""Writes of old code to shared tables and of new code to tenants', which are kept the same both ways."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from sql.errors import GateClosedError
from tests.integration.separated import THING, Separating, differing, of_tables, separating

ACME = "SET search_path = tenant_acme, public"


@pytest.fixture(scope="module")
def mirrored(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> Iterator[Separating]:
    """A migration that is past `schemas`."""
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute("CREATE DATABASE mirrored")
    migration = separating(postgres.url("mirrored"), valkey.url, postgres)
    migration.to("schemas")
    yield migration
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute("DROP DATABASE mirrored WITH (FORCE)")


@pytest.fixture
def old(mirrored: Separating) -> Iterator[psycopg.Connection]:
    """A session of old code."""
    with psycopg.connect(mirrored.url, autocommit=True) as connection:
        yield connection
    assert differing(mirrored) == []


@pytest.fixture
def new(mirrored: Separating) -> Iterator[psycopg.Connection]:
    """A session of new code, for one tenant."""
    with psycopg.connect(mirrored.url, autocommit=True) as connection:
        connection.execute(ACME)
        yield connection
    assert differing(mirrored) == []


def _one(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def test_what_old_code_writes_is_in_the_tenants_table(old: psycopg.Connection) -> None:
    old.execute("INSERT INTO entity VALUES ('o1', 'acme', 'one', '{\"b\": 2}')")
    old.execute("UPDATE entity SET name = 'two' WHERE id = 'o1'")
    assert _one(old, "SELECT name FROM tenant_acme.entity WHERE id = 'o1'") == "two"
    old.execute("UPDATE entity SET id = 'o2' WHERE id = 'o1'")
    assert _one(old, "SELECT name FROM tenant_acme.entity WHERE id = 'o2'") == "two"
    old.execute("DELETE FROM entity WHERE id = 'o2'")
    assert _one(old, "SELECT count(*) FROM tenant_acme.entity WHERE id LIKE 'o%'") == 0


def test_a_row_that_changes_its_tenant_leaves_the_one_schema_for_the_other(old: psycopg.Connection) -> None:
    old.execute("INSERT INTO entity VALUES ('m1', 'acme'), ('m2', 'acme')")
    old.execute("INSERT INTO relation (source, target) VALUES ('m1', 'm1')")
    old.execute("UPDATE entity SET org = 'third' WHERE id = 'm1'")
    assert _one(old, "SELECT count(*) FROM tenant_acme.entity WHERE id = 'm1'") == 0
    assert _one(old, "SELECT count(*) FROM tenant_third.entity WHERE id = 'm1'") == 1
    assert _one(old, "SELECT count(*) FROM tenant_third.relation WHERE source = 'm1'") == 1


def test_a_cascade_and_a_change_of_key_reach_the_children(old: psycopg.Connection) -> None:
    old.execute("INSERT INTO entity VALUES ('c1', 'acme'), ('c2', 'acme')")
    old.execute("INSERT INTO relation (source, target) VALUES ('c2', 'c1')")
    old.execute("UPDATE entity SET id = 'c9' WHERE id = 'c1'")
    assert _one(old, "SELECT target FROM tenant_acme.relation WHERE source = 'c2'") == "c9"
    old.execute("DELETE FROM entity WHERE id = 'c9'")
    assert _one(old, "SELECT count(*) FROM tenant_acme.relation WHERE source = 'c2'") == 0


def test_a_statement_that_takes_rows_with_what_points_to_them_goes_through(old: psycopg.Connection) -> None:
    old.execute("INSERT INTO entity VALUES ('r1', 'acme')")
    old.execute(
        f"INSERT INTO {THING} (id, owner, name, up) VALUES (9001, 'r1', 'a', NULL), (9002, 'r1', 'b', 9001)"
    )
    old.execute(f"DELETE FROM {THING} WHERE id > 9000")
    assert _one(old, f"SELECT count(*) FROM tenant_acme.{THING} WHERE id > 9000") == 0


def test_what_new_code_writes_is_in_the_shared_table(new: psycopg.Connection) -> None:
    new.execute("INSERT INTO entity VALUES ('n1', 'acme', 'one')")
    new.execute("INSERT INTO relation (source, target) VALUES ('n1', 'n1')")
    assert _one(new, "SELECT tenant_id FROM public.relation WHERE source = 'n1'") == "acme"
    new.execute("UPDATE entity SET name = 'two' WHERE id = 'n1'")
    assert _one(new, "SELECT name FROM public.entity WHERE id = 'n1'") == "two"
    new.execute("DELETE FROM entity WHERE id = 'n1'")
    assert _one(new, "SELECT count(*) FROM relation WHERE source = 'n1'") == 0, "the cascade came back"
    assert _one(new, "SELECT count(*) FROM public.relation WHERE source = 'n1'") == 0


def test_an_id_of_another_tenant_is_refused_as_in_the_shared_table(new: psycopg.Connection) -> None:
    with pytest.raises(errors.UniqueViolation):
        new.execute("INSERT INTO entity (id, org) VALUES ('e1', 'acme')")  # Big-Co's


def test_the_applications_triggers_fire_once_whichever_code_writes(
    old: psycopg.Connection, new: psycopg.Connection
) -> None:
    old.execute("INSERT INTO entity VALUES ('t1', 'acme')")
    old.execute(f"INSERT INTO {THING} (id, owner, name) VALUES (8001, 't1', 'by old')")
    new.execute(f"INSERT INTO {THING} (id, owner, name) VALUES (8002, 't1', 'by new')")
    new.execute(f"UPDATE {THING} SET amount = 7 WHERE id = 8002")
    fired = new.execute("SELECT name, tg_op FROM fired WHERE name LIKE 'by %' ORDER BY at").fetchall()
    assert fired == [("by old", "INSERT"), ("by new", "INSERT"), ("by new", "UPDATE")]
    assert _one(new, f"SELECT touched FROM {THING} WHERE id = 8002") == 1, "what they make of it comes back"


def test_ids_are_unique_over_all_tenants(old: psycopg.Connection, new: psycopg.Connection) -> None:
    old.execute("INSERT INTO entity VALUES ('s1', 'acme')")
    for _ in range(3):
        new.execute("INSERT INTO relation (source, target) VALUES ('s1', 's1')")
        old.execute("INSERT INTO relation (source, target) VALUES ('s1', 's1')")
        new.execute(f"INSERT INTO {THING} (owner, name) VALUES ('s1', 's')")
        old.execute(f"INSERT INTO {THING} (owner, name) VALUES ('s1', 's')")


@pytest.mark.parametrize("table", ["public.entity", "tenant_acme.entity"])
def test_truncate_is_refused_on_either_side(old: psycopg.Connection, table: str) -> None:
    with pytest.raises(errors.FeatureNotSupported, match="can't be truncated"):
        old.execute(f"TRUNCATE {table} CASCADE")


def test_a_role_without_rights_on_the_shared_table_or_its_sequence_can_write(
    new: psycopg.Connection,
) -> None:
    new.execute("INSERT INTO entity VALUES ('w1', 'acme')")
    new.execute("CREATE ROLE writes_to_tenants")
    try:
        new.execute("REVOKE ALL ON public.relation FROM PUBLIC")
        new.execute("SET ROLE writes_to_tenants")
        new.execute("INSERT INTO relation (source, target) VALUES ('w1', 'w1')")
        new.execute("RESET ROLE")
    finally:
        new.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON public.relation TO PUBLIC")
        new.execute("DROP ROLE writes_to_tenants")


def test_a_new_tenants_row_is_noted_keeps_the_switch_closed_and_gets_a_schema_by_the_next_run(
    mirrored: Separating,
) -> None:
    with psycopg.connect(mirrored.url, autocommit=True) as old:
        old.execute("INSERT INTO entity VALUES ('late', 'New-One')")
        assert _one(old, "SELECT count(*) FROM tenantry_mirror.strays") == 1
        mirrored.to("application")
        assert _one(old, "SELECT count(*) FROM tenant_new_one.entity") == 1
        old.execute("INSERT INTO entity VALUES ('later', 'New-Two')")
        old.execute("DELETE FROM entity WHERE id = 'later'")
    mirrored.to("application")
    assert differing(mirrored) == []


def test_two_tenants_of_one_name_are_refused(mirrored: Separating) -> None:
    with psycopg.connect(mirrored.url, autocommit=True) as old:
        old.execute("INSERT INTO entity VALUES ('alike', 'big_co')")
        with pytest.raises(GateClosedError, match="'Big-Co' and 'big_co' would share"):
            mirrored.to("application")
        old.execute("DELETE FROM entity WHERE id = 'alike'")
    mirrored.to("application")


HAD = """
CREATE TABLE t (tenant_id text NOT NULL, id integer, n integer, PRIMARY KEY (tenant_id, id));
INSERT INTO t SELECT 'o' || n % 3, n, n FROM generate_series(1, 30) AS n;
"""


def test_a_tenants_table_takes_no_row_of_another_where_it_has_the_column(
    database: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    migration = of_tables(
        database, valkey.url, postgres, HAD, {"name": "t", "tenant": {"expression": "tenant_id"}}
    )
    migration.to("schemas")
    with psycopg.connect(database, autocommit=True) as new:
        new.execute("SET search_path = tenant_o1, public")
        for _ in ("before the switch", "after it"):
            for foreign in (
                "INSERT INTO t VALUES ('o2', 100, 1)",
                "UPDATE t SET tenant_id = 'o2' WHERE id = 1",
            ):
                with pytest.raises(errors.CheckViolation, match="can't be of 'o2'"):
                    new.execute(foreign)
            new.execute("INSERT INTO t (id, n) VALUES (100, 1)")
            new.execute("UPDATE t SET n = 2 WHERE id = 100")
            assert differing(migration) == []
            new.execute("DELETE FROM t WHERE id = 100")
            migration.to("verify")
    migration.back(None)
