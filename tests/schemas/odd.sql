-- Integer, uuid, composite and missing keys, self-referencing and deferrable foreign keys, partitions of two
-- levels, unique constraints and indexes, triggers, views (one that GROUPs BY the key), generated and identity columns, odd names, existing
-- row-level security, and a foreign key from outside the plan.
CREATE SCHEMA "Odd ""Schema";

CREATE TABLE node (
  id bigint GENERATED ALWAYS AS IDENTITY,
  up bigint,
  "new" text NOT NULL,
  payload text DEFAULT 'it''s',
  touched integer NOT NULL DEFAULT 0,
  shout text GENERATED ALWAYS AS (upper("new")) STORED,
  CONSTRAINT "node key" PRIMARY KEY (id) INCLUDE (payload) WITH (fillfactor = 70)
);
ALTER TABLE node ADD CONSTRAINT node_up_fkey FOREIGN KEY (up) REFERENCES node ON DELETE CASCADE
  DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE node CLUSTER ON "node key";
ALTER TABLE node REPLICA IDENTITY USING INDEX "node key";
COMMENT ON CONSTRAINT "node key" ON node IS 'the node''s key';
COMMENT ON INDEX "node key" IS 'and its index';
COMMENT ON COLUMN node."new" IS 'whose';

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
CREATE UNIQUE INDEX "edge %s {}" ON "Odd ""Schema"."Edge %s" (abs(target) DESC) INCLUDE (found)
  WHERE target > 0;

CREATE TABLE document (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  number serial,
  node bigint NOT NULL,
  title text UNIQUE,
  CONSTRAINT document_node FOREIGN KEY (node) REFERENCES node (id) DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON CONSTRAINT document_title_key ON document IS 'what it''s called';

CREATE TABLE keyless (a integer NOT NULL, tg_op text);

CREATE TABLE tenanted (
  id integer PRIMARY KEY, tenant_id text DEFAULT 'somebody', node bigint REFERENCES node
);

CREATE TABLE reading (
  at date NOT NULL, sensor smallint NOT NULL, org text, value numeric(6, 2),
  CONSTRAINT "its key" PRIMARY KEY (at, sensor) INCLUDE (value)
) PARTITION BY RANGE (at);
CREATE TABLE before PARTITION OF reading FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
CREATE TABLE later PARTITION OF reading DEFAULT PARTITION BY LIST (sensor);
CREATE TABLE "later %" PARTITION OF later DEFAULT;
CREATE TABLE later_7 PARTITION OF later FOR VALUES IN (7);
COMMENT ON CONSTRAINT "its key" ON reading IS 'the whole';

CREATE TABLE vault (
  id smallint PRIMARY KEY, node bigint NOT NULL REFERENCES node ON DELETE CASCADE, secret text
);
ALTER TABLE vault ENABLE ROW LEVEL SECURITY;
CREATE POLICY older ON vault USING (secret <> 'hidden');

CREATE TABLE "else where" (
  node bigint, CONSTRAINT "its %s" FOREIGN KEY (node) REFERENCES node MATCH FULL ON DELETE SET NULL DEFERRABLE
);
COMMENT ON CONSTRAINT "its %s" ON "else where" IS 'from outside the plan';

CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.touched := NEW.touched + 1;
  RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE OF payload ON node FOR EACH ROW EXECUTE FUNCTION touch();

CREATE VIEW named AS SELECT id, "new", payload FROM node WHERE up IS NOT NULL;
CREATE VIEW plain AS SELECT n.id, d.title FROM node AS n JOIN document AS d ON d.node = n.id;
CREATE VIEW "by %s {}" WITH (security_barrier) AS
  SELECT n.id, n."new" AS "GROUP BY", count(d.id) AS documents FROM node AS n LEFT JOIN document AS d ON d.node = n.id
  GROUP BY n.id;
COMMENT ON COLUMN "by %s {}".documents IS 'how many';
ALTER VIEW "by %s {}" ALTER documents SET DEFAULT 0;
CREATE VIEW upon AS SELECT * FROM "by %s {}";

INSERT INTO node (up, "new") SELECT nullif(n, 1), CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'zenith' END
FROM generate_series(1, 50) AS n;
UPDATE node SET up = CASE WHEN id > 2 THEN id - 2 END;
INSERT INTO "Odd ""Schema"."Edge %s" (source, target) SELECT n, 1 + (n + 1) % 50 FROM generate_series(1, 50) AS n;
INSERT INTO document (node, title) SELECT n, 'title ' || n FROM generate_series(1, 50) AS n;
INSERT INTO reading SELECT '2024-12-01'::date + n, n % 9, 'acme', n FROM generate_series(1, 60) AS n;
INSERT INTO vault SELECT n, n, CASE WHEN n % 2 = 0 THEN 'hidden' ELSE 'seen' END FROM generate_series(1, 50) AS n;
INSERT INTO keyless SELECT n, 'acme' FROM generate_series(1, 50) AS n;
INSERT INTO tenanted SELECT n, 'acme', n FROM generate_series(2, 50, 2) AS n;
INSERT INTO "else where" SELECT n FROM generate_series(1, 50) AS n;
