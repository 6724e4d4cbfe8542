"""Walking through stages as the conductor does, and a schema with what real ones have."""

import os
from collections.abc import Iterable
from typing import Any

from control.embedded.postgres import EmbeddedPostgres
from control.locks import take
from control.plan.model import Plan
from control.stage import Stage, Step
from control.stages import columns, indexes, keys
from sql.postgres import catalog, on_demand
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog
from tests.servers import VARIABLE

STAGES: tuple[Stage, ...] = (columns.STAGE, indexes.STAGE, keys.STAGE)

SAMPLE: dict[str, Any] = {
    "name": "sample",
    "database": {"url": "postgresql:///"},
    "tables": [
        {
            "name": "graph_entities",
            "tenant": {"expression": "properties->>'org_id'"},
            "indexes": [
                {"name": "idx_entities_tenant", "columns": ["tenant_id"]},
                {"name": "idx_entities_tenant_type", "columns": ["tenant_id", "entity_type"]},
            ],
            "primary_key": ["id", "tenant_id"],
        },
        {
            "name": "graph_relations",
            "tenant": {"parent": "graph_entities", "on": {"source_id": "id"}},
            "indexes": [{"name": "idx_relations_tenant", "columns": ["tenant_id"]}],
            "primary_key": ["id", "tenant_id"],
        },
    ],
}

#: That it sets one column of a composite key to NULL can be said from PostgreSQL 15 on.
UP_ACTION = "CASCADE" if os.environ.get(VARIABLE) == "14" else "SET NULL"

#: Odd names, two schemas, a self-reference that is deferred, every action that can be kept, comments, a
#: clustered key that is the replica identity, storage parameters, INCLUDE, a table without a key, one that
#: has the tenant column already, columns called like the guard's own words, a unique constraint and index
#: that become unique per tenant, a foreign key from outside the plan,
#: and a view that GROUPs BY a key.
ODD_SCHEMA = f"""
CREATE SCHEMA "Odd ""Schema";
CREATE TABLE node (
  id bigint GENERATED ALWAYS AS IDENTITY,
  up bigint,
  "new" text NOT NULL,
  payload text DEFAULT 'it''s',
  CONSTRAINT "node key" PRIMARY KEY (id) INCLUDE (payload) WITH (fillfactor = 70)
);
ALTER TABLE node ADD CONSTRAINT node_up_fkey FOREIGN KEY (up) REFERENCES node ON DELETE {UP_ACTION}
  DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE node CLUSTER ON "node key";
ALTER TABLE node REPLICA IDENTITY USING INDEX "node key";
COMMENT ON CONSTRAINT "node key" ON node IS 'the node''s key';
COMMENT ON INDEX "node key" IS 'and its index';
CREATE TABLE "Odd ""Schema"."Edge %s" (
  source bigint,
  target bigint NOT NULL,
  kind uuid NOT NULL DEFAULT gen_random_uuid(),
  found text,
  PRIMARY KEY (source, kind),
  CONSTRAINT "edge's source" FOREIGN KEY (source) REFERENCES node MATCH FULL
    ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT target FOREIGN KEY (target) REFERENCES node (id) ON DELETE RESTRICT DEFERRABLE
);
COMMENT ON CONSTRAINT target ON "Odd ""Schema"."Edge %s" IS 'where it ends';
CREATE UNIQUE INDEX "edge %s {{}}" ON "Odd ""Schema"."Edge %s" (abs(target) DESC) INCLUDE (found)
  WHERE target > 0;
CREATE TABLE keyless (a integer, tg_op text);
CREATE TABLE tenanted (
  id integer PRIMARY KEY, tenant_id text DEFAULT 'somebody', node bigint REFERENCES node UNIQUE
);
COMMENT ON CONSTRAINT tenanted_node_key ON tenanted IS 'one for each';
CREATE TABLE elsewhere (
  node bigint, CONSTRAINT "its {{}}" FOREIGN KEY (node) REFERENCES node ON DELETE CASCADE
);
COMMENT ON CONSTRAINT "its {{}}" ON elsewhere IS 'from outside the plan';
CREATE VIEW "by %s {{}}" AS SELECT id, "new", count(payload) FROM node GROUP BY id;
CREATE VIEW upon AS SELECT * FROM "by %s {{}}";
INSERT INTO node (up, "new") SELECT nullif(n, 1), 'acme' FROM generate_series(1, 50) AS n;
INSERT INTO elsewhere SELECT n FROM generate_series(1, 50) AS n;
INSERT INTO "Odd ""Schema"."Edge %s" (source, target) SELECT n, 51 - n FROM generate_series(1, 50) AS n;
INSERT INTO keyless SELECT n, 'acme' FROM generate_series(1, 50) AS n;
INSERT INTO tenanted SELECT n, 'acme', n FROM generate_series(1, 50) AS n;
"""

ODD: dict[str, Any] = {
    "name": "odd",
    "database": {"url": "postgresql:///"},
    "tenant": {"sentinel": "null"},
    "tables": [
        {
            "name": "node",
            "tenant": {"expression": '"new"'},
            "primary_key": ["tenant_id", "id"],
            "indexes": [{"name": 'by "tenant"', "columns": ["tenant_id", "new"]}],
        },
        {
            "name": '"Odd ""Schema"."Edge %s"',
            "tenant": {"parent": "node", "on": {"source": "id"}},
            "primary_key": ["source", "kind", "tenant_id"],
            "unique": ["edge %s {}"],
        },
        {"name": "keyless", "tenant": {"expression": "tg_op"}, "primary_key": ["a", "tenant_id"]},
        {
            "name": "tenanted",
            "tenant": {"constant": "acme"},
            "primary_key": ["id", "tenant_id"],
            "unique": ["tenanted_node_key"],
        },
    ],
}

#: Gives every row of either schema its tenant, as the backfill does.
FILL_SAMPLE = """
UPDATE graph_entities SET tenant_id = properties->>'org_id' WHERE tenant_id = '';
UPDATE graph_relations AS r SET tenant_id = e.tenant_id FROM graph_entities AS e
WHERE e.id = r.source_id AND r.tenant_id = '';
"""
FILL_ODD = """
UPDATE node SET tenant_id = "new" WHERE tenant_id IS NULL;
UPDATE "Odd ""Schema"."Edge %s" SET tenant_id = 'acme' WHERE tenant_id IS NULL;
UPDATE keyless SET tenant_id = tg_op WHERE tenant_id IS NULL;
"""


class Walker:
    """A plan on a database: what was there before, and steps taken one after the other."""

    def __init__(self, connection: Connection, plan: Plan, server: EmbeddedPostgres) -> None:
        self.connection = connection
        self.plan = plan
        self.server = server
        self.original = self.live()

    def live(self) -> Catalog:
        """The catalog as it is."""
        return catalog.read(self.connection, [table.name for table in self.plan.tables])

    def _look(self) -> Catalog:
        return on_demand.look(self.connection, [table.name for table in self.plan.tables])

    def take(self, steps: Iterable[Step], *, most: int | None = None) -> list[str]:
        """Take those that aren't done, at most so many, and say which."""
        taken: list[str] = []
        live = self._look()
        for step in steps:
            if len(taken) == most:
                break
            if not step.done(live):
                take(self.connection, step, notify=lambda _: None, attempts=1)
                live = self._look()
                assert step.done(live), step.what
                taken.append(step.what)
        return taken

    def there(self, stage: Stage, *, most: int | None = None) -> list[str]:
        """Go through a stage, or its next steps."""
        return self.take(stage.steps(self.plan, self.original), most=most)

    def back(self, stage: Stage, *, most: int | None = None) -> list[str]:
        """Undo a stage, or its next steps."""
        return self.take(stage.undo(self.plan, self.original), most=most)

    def schema(self) -> str:
        """The whole schema as `pg_dump` writes it."""
        name = self.connection.info.dbname
        return self.server.run("pg_dump", "--schema-only", "--restrict-key=x", name).stdout
