"""A migration to a schema for each tenant, on tables that have a bit of everything."""

from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from control import conductor
from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.queue import namespace_of
from control.rollback import rollback
from control.schemas.comparing import differences
from control.schemas.patterns import patterns
from sql.postgres import schemas
from sql.postgres.connection import connect
from tests.integration.worker_threads import worker_threads
from worker import ledger
from worker.broker import doorbell

TENANTS = ("acme", "Big-Co", "third", "fourth", "fifth")

#: Two tables of a graph, and one with serial and generated columns, a check, comments, grants, triggers that
#: tell what they fired for, statistics, storage parameters, odd names and every kind of index.
SCHEMA = """
CREATE TABLE entity (id text PRIMARY KEY, org text, name text NOT NULL DEFAULT 'x', properties json);
CREATE INDEX entity_name ON entity (lower(name)) WHERE name <> '';
CREATE TABLE relation (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source text NOT NULL REFERENCES entity ON DELETE CASCADE,
  target text NOT NULL CONSTRAINT "its %s {} target" REFERENCES entity ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE fired (at bigserial, name text, tg_op text, path text DEFAULT current_setting('search_path'));
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.fired (name, tg_op) VALUES (coalesce(NEW.name, OLD.name), TG_OP);
  RETURN NULL;
END $$;
CREATE FUNCTION touches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.touched := NEW.touched + 1;
  RETURN NEW;
END $$;
CREATE TABLE "Odd %s {} thing" (
  id serial, owner text NOT NULL REFERENCES entity ON DELETE RESTRICT, name text NOT NULL,
  up integer, amount numeric(10, 2) NOT NULL DEFAULT 1 CHECK (amount > 0), touched integer NOT NULL DEFAULT 0,
  twice numeric GENERATED ALWAYS AS (amount * 2) STORED, "100 % {}" text COLLATE "C",
  CONSTRAINT "thing's key" PRIMARY KEY (id) INCLUDE (name) WITH (fillfactor = 80),
  CONSTRAINT thing_up FOREIGN KEY (up) REFERENCES "Odd %s {} thing" DEFERRABLE INITIALLY DEFERRED
) WITH (fillfactor = 70, autovacuum_enabled = false);
CREATE UNIQUE INDEX "by %s {}" ON "Odd %s {} thing" (lower(name) DESC, id) INCLUDE (amount);
CREATE STATISTICS thing_statistics (dependencies) ON owner, name FROM "Odd %s {} thing";
ALTER TABLE "Odd %s {} thing" CLUSTER ON "by %s {}";
ALTER TABLE "Odd %s {} thing" REPLICA IDENTITY FULL;
COMMENT ON TABLE "Odd %s {} thing" IS 'a thing''s table';
COMMENT ON COLUMN "Odd %s {} thing".amount IS 'how much';
COMMENT ON CONSTRAINT "thing's key" ON "Odd %s {} thing" IS 'its key';
COMMENT ON INDEX "by %s {}" IS 'by name';
COMMENT ON CONSTRAINT thing_up ON "Odd %s {} thing" IS 'upwards';
CREATE TRIGGER fires AFTER INSERT OR UPDATE OR DELETE ON "Odd %s {} thing"
  FOR EACH ROW EXECUTE FUNCTION fires();
CREATE TRIGGER touches BEFORE UPDATE ON "Odd %s {} thing"
  FOR EACH ROW WHEN (OLD.amount <> NEW.amount OR OLD.name <> NEW.name) EXECUTE FUNCTION touches();
COMMENT ON TRIGGER touches ON "Odd %s {} thing" IS 'counts';
GRANT SELECT, INSERT, UPDATE, DELETE ON entity, relation, "Odd %s {} thing" TO PUBLIC;
GRANT SELECT (name) ON "Odd %s {} thing" TO pg_monitor WITH GRANT OPTION;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
GRANT INSERT ON fired TO PUBLIC;
INSERT INTO entity (id, org, name, properties)
  SELECT 'e' || n, (ARRAY['acme', 'Big-Co', 'third', 'fourth', 'fifth'])[1 + n % 5], 'n' || n, '{"a": 1}'
  FROM generate_series(1, 500) AS n;
INSERT INTO relation (source, target)
  SELECT 'e' || n, 'e' || 1 + (n + 4) % 500 FROM generate_series(1, 500) AS n;
INSERT INTO "Odd %s {} thing" (owner, name, up)
  SELECT 'e' || n, 'thing ' || n, CASE WHEN n > 5 THEN n - 5 END FROM generate_series(1, 200) AS n;
DELETE FROM fired;
"""
THING = '"Odd %s {} thing"'
TABLES = ("entity", "relation", "Odd %s {} thing")

PLAN: dict[str, Any] = {
    "name": "apart",
    "tenant": {"isolation": "separate_schema"},
    "backfill": {"user_triggers": "hold"},
    "tables": [
        {"name": "entity", "tenant": {"expression": "org"}},
        {"name": "relation", "tenant": {"parent": "entity", "on": {"source": "id"}}},
        {"name": THING, "tenant": {"parent": "entity", "on": {"owner": "id"}}},
    ],
}


def plan_for(url: str, **more: Any) -> Plan:
    """The plan, on a database."""
    return Plan.model_validate(PLAN | {"database": {"url": url}} | more)


@dataclass
class Separating:
    """A migration under way, with workers in threads."""

    plan: Plan
    url: str
    queue: str
    server: EmbeddedPostgres

    def to(self, stage: str) -> list[str]:
        """Run as far as a stage, and answer what was said."""
        said: list[str] = []
        space = namespace_of(self.plan)
        with (
            conductor.controller(self.plan) as connection,
            worker_threads(1, url=self.url, queue=self.queue, namespace=space),
        ):
            bell = doorbell(self.queue, space)
            if ledger.find(connection, self.plan.name) is not None:
                conductor.confirm(self.plan, connection, "application")
            conductor.run(self.plan, connection, bell, to=stage, throttle=False, notify=said.append)
        return said

    def back(self, stage: str | None) -> None:
        """Walk back to a stage, or to the start."""
        with conductor.controller(self.plan) as connection:
            rollback(self.plan, connection, to=stage, notify=lambda _line: None)

    def schema(self) -> str:
        """The schema as `pg_dump` writes it, without the ledger's."""
        without = ("--schema-only", "--restrict-key=x", "--exclude-schema=tenantry")
        return self.server.run("pg_dump", *without, self.url).stdout

    def rows(self, schema: str = "public") -> dict[str, list[Any]]:
        """What the tables of a schema hold."""
        with psycopg.connect(self.url) as connection:
            return {
                table: connection.execute(
                    psycopg.sql.SQL("SELECT to_jsonb(t) - 'tenant_id' FROM {} AS t ORDER BY 1").format(
                        psycopg.sql.Identifier(schema, table)
                    )
                ).fetchall()
                for table in TABLES
            }


def separating(url: str, queue: str, server: EmbeddedPostgres, **more: Any) -> Separating:
    """The tables made and filled, and their migration not begun."""
    with connect(url, "test") as connection:
        connection.execute(SCHEMA)
    return Separating(plan_for(url, **more), url, queue, server)


def of_tables(
    url: str, queue: str, server: EmbeddedPostgres, statements: LiteralString, *tables: dict[str, Any]
) -> Separating:
    """Tables made by statements, each with its part of the plan, and their migration not begun."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements)
    return Separating(plan_for(url, tables=list(tables)), url, queue, server)


def differing(migration: Separating) -> list[str]:
    """What differs between the shared tables and the tenants'."""
    with connect(migration.url, "test") as connection:
        known = ledger.read(connection, migration.plan.name)
        ground = conductor.ground_of(migration.plan, connection, known, lambda _line: None)
        return list(
            differences(migration.plan, connection, patterns(ground).named, schemas.schemas(connection))
        )
