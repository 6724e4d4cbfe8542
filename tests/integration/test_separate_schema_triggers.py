"""Until the switch the shared tables' triggers have the last word; after it nothing there is in the way."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors, sql

from control import conductor
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.stages.switch import STAGE as SWITCH
from control.steps import take
from sql.errors import CatalogError, GateClosedError
from tests.integration.separated import Separating, differing, of_tables
from tests.waiting import until
from worker import ledger

T = {"name": "t", "tenant": {"expression": "org"}}
K = {"name": "k", "tenant": {"parent": "t", "on": {"t_id": "id"}}}
#: Triggers that hold rows back, change keys, write the row again, and call things by names without a schema.
SCHEMA = """
CREATE EXTENSION ltree;
CREATE TABLE t (id integer PRIMARY KEY, org text, n integer NOT NULL DEFAULT 0);
CREATE TABLE k (id ltree PRIMARY KEY, t_id integer REFERENCES t ON DELETE CASCADE, n integer DEFAULT 0);
CREATE TABLE fired (what text);
INSERT INTO t SELECT n, 'o' || n % 3, CASE n WHEN 4 THEN 14 ELSE 0 END FROM generate_series(1, 30) AS n;
INSERT INTO k SELECT ('a.b' || n)::ltree, n FROM generate_series(1, 30) AS n;
CREATE FUNCTION small(n integer) RETURNS boolean LANGUAGE sql AS $$ SELECT n < 1000 $$;
CREATE FUNCTION decides() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    RETURN CASE WHEN OLD.n = 14 THEN NULL ELSE OLD END;
  END IF;
  NEW.id := CASE WHEN NEW.id > 900 AND small(NEW.n) THEN NEW.id - 500 ELSE NEW.id END;
  RETURN CASE WHEN NEW.n = 13 THEN NULL ELSE NEW END;
END $$;
CREATE TRIGGER decides BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION decides();
CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.n = 14 THEN
    UPDATE k SET n = 15 WHERE id = OLD.id;
    RETURN NULL;
  END IF;
  RETURN OLD;
END $$;
CREATE TRIGGER keeps BEFORE DELETE ON k FOR EACH ROW EXECUTE FUNCTION keeps();
CREATE FUNCTION writes_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO fired VALUES (TG_OP || NEW.id);
  UPDATE t SET n = n + 1 WHERE id = NEW.id AND n BETWEEN 2 AND 4;
  RETURN NULL;
END $$;
CREATE TRIGGER "00 writes again" AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION writes_again();
"""


@pytest.fixture(scope="module")
def mirrored(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> Iterator[Separating]:
    """A migration that is past `schemas`."""
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute("CREATE DATABASE decided")
        migration = of_tables(postgres.url("decided"), valkey.url, postgres, SCHEMA, T, K)
        migration.to("schemas")
        yield migration
        operator.execute("DROP DATABASE decided WITH (FORCE)")


@pytest.mark.parametrize("path", ["public", "tenant_o1, public"])
@pytest.mark.parametrize(
    ("statements", "rows"),
    [
        ("INSERT INTO t VALUES (100, 'o1', 13)", []),
        ("UPDATE t SET n = 13 WHERE id = 1", [(1, 0)]),
        ("INSERT INTO t VALUES (200, 'o1', 2)", [(200, 5)]),
        ("INSERT INTO t VALUES (200, 'o1', 6); UPDATE t SET n = 3 WHERE id = 200", [(200, 5)]),
        ("INSERT INTO t VALUES (950, 'o1', 9)", [(450, 9)]),
        ("UPDATE t SET n = 7 WHERE id = 7; UPDATE k SET n = 2 WHERE t_id = 7", [(7, 7)]),
    ],
)
def test_what_triggers_make_of_a_row_is_on_both_sides_whichever_is_written_to(
    mirrored: Separating, path: LiteralString, statements: LiteralString, rows: list[object]
) -> None:
    with psycopg.connect(mirrored.url, autocommit=True) as session:
        session.execute(sql.SQL("SET search_path = ") + sql.SQL(path))
        session.execute(statements)
        asked = "SELECT id, n FROM tenant_o1.t WHERE id IN (100, 200, 450, 950) OR n = 7 OR %s AND id = 1"
        assert session.execute(asked, ["id = 1" in statements]).fetchall() == rows
        assert differing(mirrored) == []
        session.execute("DELETE FROM t WHERE id >= 100; UPDATE t SET n = 0 WHERE id = 7")


def test_a_row_whose_deletion_is_held_back_stays_on_both_sides(mirrored: Separating) -> None:
    with psycopg.connect(mirrored.url, autocommit=True) as session:
        session.execute("SET search_path = tenant_o1, public")
        session.execute("UPDATE k SET n = 14 WHERE t_id = 1")
        session.execute("DELETE FROM k WHERE t_id = 1")
        assert session.execute("SELECT n FROM tenant_o1.k WHERE t_id = 1").fetchall() == [(15,)]
        with pytest.raises(errors.RestrictViolation, match="holds the row back"):
            session.execute("DELETE FROM t WHERE id = 4")  # with it, k's rows would be gone on both sides
    assert differing(mirrored) == []


CLASHING = """
CREATE TABLE t (
  id integer PRIMARY KEY, org text, during int4range, active boolean NOT NULL DEFAULT false, name text,
  low text GENERATED ALWAYS AS (lower(name)) STORED, email text UNIQUE, EXCLUDE USING gist (during WITH &&)
);
CREATE UNIQUE INDEX one_is_active ON t (email) WHERE active;
CREATE UNIQUE INDEX ON t (low);
CREATE TABLE k (id integer PRIMARY KEY, t_id integer REFERENCES t);
INSERT INTO t (id, org, during, name) SELECT n, 'o' || n % 3, int4range(n, n + 1), 's' || n
  FROM generate_series(1, 30) AS n;
ALTER TABLE t DROP CONSTRAINT t_email_key;
UPDATE t SET email = 'e' || CASE WHEN id IN (1, 2) THEN 1 ELSE id END;
UPDATE t SET active = id = 2;
"""


@pytest.mark.parametrize(
    "statements",
    [
        "UPDATE t SET during = '[2,3)' WHERE id = 1",
        "UPDATE t SET active = true WHERE id = 1",
        "UPDATE t SET name = 'S2' WHERE id = 1",
        "INSERT INTO t (id, org, name) VALUES (101, 'o1', 's2'); INSERT INTO k VALUES (1, 101)",
    ],
)
def test_after_the_switch_no_row_of_another_tenants_is_in_the_way(
    database: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey, statements: LiteralString
) -> None:
    migration = of_tables(database, valkey.url, postgres, CLASHING, T, K)
    migration.to("schemas")
    migration.to("verify")
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("SET search_path = tenant_o1, public")
        for statement in statements.split("; "):
            session.execute(statement.encode())
        session.execute("SET search_path = tenant_o2, public")
        session.execute("DELETE FROM t WHERE id = 2")
    with pytest.raises(GateClosedError, match="another tenant has too"):
        migration.back("application")


FIRES = """
CREATE TABLE t (id integer PRIMARY KEY, org text, n integer NOT NULL DEFAULT 0);
CREATE TABLE fired (what text);
INSERT INTO t SELECT n, 'o' || n % 3 FROM generate_series(1, 30) AS n;
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO fired VALUES (TG_TABLE_SCHEMA);
  NEW.n := NEW.n + 1;
  RETURN NEW;
END $$;
CREATE TRIGGER fires BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fires();
"""


def test_a_statement_that_waits_for_the_renaming_fires_triggers_once(
    database: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    migration = of_tables(database, valkey.url, postgres, FIRES, T)
    migration.to("schemas")
    with conductor.controller(migration.plan) as connection:
        known = ledger.read(connection, migration.plan.name)
        ground = conductor.ground_of(migration.plan, connection, known, lambda _line: None)
        (renaming,) = SWITCH.steps(migration.plan, ground.original)
    with ExitStack() as stack:
        switching, new = (stack.enter_context(psycopg.connect(database)) for _ in range(2))
        switching.execute(sql.SQL("LOCK TABLE {}").format(sql.SQL(", ").join(renaming.tables)))
        new.autocommit = True
        new.execute("SET search_path = tenant_o1, public")
        new.pgconn.send_query(b"INSERT INTO t VALUES (100, 'o1')")
        waits = "SELECT FROM pg_locks WHERE NOT granted AND pid = %s"
        until(lambda: switching.execute(waits, [new.info.backend_pid]).rowcount, "the insert waits")
        switching.execute(renaming.statement)
        switching.commit()
        while new.pgconn.get_result() is not None:
            pass
        assert new.execute("SELECT what FROM fired").fetchall() == [("tenant_o1",)]
        assert new.execute("SELECT n FROM t WHERE id = 100").fetchall() == [(1,)]
        assert new.execute("SELECT n FROM t_shared WHERE id = 100").fetchall() == [(1,)]


def test_a_row_that_is_noted_while_the_way_back_is_walked_ends_it(
    database: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    migration = of_tables(database, valkey.url, postgres, CLASHING, T, K)
    migration.to("schemas")
    migration.to("verify")
    with conductor.controller(migration.plan) as connection:
        known = ledger.read(connection, migration.plan.name)
        ground = conductor.ground_of(migration.plan, connection, known, lambda _line: None)
        SWITCH.unwork(ground)
        with psycopg.connect(database, autocommit=True) as session:
            session.execute(
                "INSERT INTO tenant_o1.t (id, org, name) VALUES (2, 'o1', 'as another tenant''s')"
            )
        with pytest.raises(CatalogError, match="there is no way back"):
            take(SWITCH.undo(migration.plan, ground.original), ground, "switch")
    migration.to("verify")
