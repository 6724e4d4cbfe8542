-- What files of real applications hold and a copy of them easily loses: an INTEGER PRIMARY KEY with AUTOINCREMENT, a
-- WITHOUT ROWID table, a STRICT one, generated columns, partial and expression indexes, collations, CHECKs, triggers,
-- views, composite and self-referencing foreign keys, a foreign key from outside the plan, odd names, and values of
-- every kind, NULs and megabytes among them.
PRAGMA journal_mode = WAL;

CREATE TABLE node (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  up INTEGER REFERENCES node (id) ON DELETE CASCADE,
  org TEXT, -- a comment, and a comma,
  "na""me %s {}" TEXT NOT NULL COLLATE NOCASE DEFAULT 'it''s' CHECK (length("na""me %s {}") < 100),
  shout TEXT GENERATED ALWAYS AS (upper("na""me %s {}")) STORED,
  twice INTEGER AS (id * 2) VIRTUAL,
  payload
);
CREATE INDEX node_up ON node (up) WHERE up IS NOT NULL;
CREATE INDEX "node lower" ON node (lower("na""me %s {}") DESC, org COLLATE NOCASE);

CREATE TABLE [Edge of things] (
  source INTEGER NOT NULL REFERENCES node ON DELETE CASCADE ON UPDATE CASCADE,
  kind TEXT NOT NULL COLLATE NOCASE,
  target INTEGER NOT NULL,
  found REAL DEFAULT (1.5 + 2),
  note TEXT /* what was said */,
  PRIMARY KEY (source, kind DESC),
  CONSTRAINT "edge's target" FOREIGN KEY (target) REFERENCES node (id) DEFERRABLE INITIALLY DEFERRED
) WITHOUT ROWID;
CREATE UNIQUE INDEX edge_target ON [Edge of things] (abs(target), kind) WHERE target > 0;

CREATE TABLE document (
  code TEXT NOT NULL,
  part INT NOT NULL,
  org TEXT,
  body ANY,
  bytes BLOB,
  seen INTEGER NOT NULL DEFAULT 0 CHECK (seen >= 0),
  PRIMARY KEY (code, part)
) STRICT;
CREATE INDEX document_body ON document (typeof(body), seen) WHERE body IS NOT NULL;

CREATE TABLE page (
  id INTEGER PRIMARY KEY,
  code TEXT,
  part INT,
  text TEXT,
  FOREIGN KEY (code, part) REFERENCES document (code, part) ON DELETE CASCADE
);

-- Outside the plan.
CREATE TABLE reader (
  name TEXT PRIMARY KEY,
  code TEXT,
  part INT,
  FOREIGN KEY (code, part) REFERENCES document
);
CREATE TABLE counted (what TEXT PRIMARY KEY, times INTEGER NOT NULL DEFAULT 0);
INSERT INTO counted (what) VALUES ('nodes'), ('renamed'), ('pages');

CREATE TRIGGER node_counted AFTER INSERT ON node BEGIN
  UPDATE counted SET times = times + 1 WHERE what = 'nodes';
END;
CREATE TRIGGER node_renamed AFTER UPDATE OF "na""me %s {}" ON node WHEN new.id > 0 BEGIN
  UPDATE counted SET times = times + 1 WHERE what = 'renamed';
END;
CREATE TRIGGER page_gone BEFORE DELETE ON page BEGIN
  UPDATE counted SET times = times - 1 WHERE what = 'pages';
END;

CREATE VIEW tree AS
  SELECT n.id, n.shout, e.kind, e.target FROM node AS n LEFT JOIN [Edge of things] AS e ON e.source = n.id;
CREATE VIEW "title pages" (code, first) AS
  SELECT code, min(text) FROM page GROUP BY code;
CREATE TRIGGER rewritten INSTEAD OF UPDATE ON "title pages" BEGIN
  UPDATE page SET text = new.first WHERE code = new.code;
END;

WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 400)
INSERT INTO node (id, up, org, "na""me %s {}", payload)
SELECT
  n * 3, CASE WHEN n > 5 AND n % 3 THEN (n - 5) * 3 END, 'org-' || (n % 5), 'node ' || n,
  CASE n % 7
    WHEN 0 THEN NULL WHEN 1 THEN n WHEN 2 THEN n / 3.0 WHEN 3 THEN zeroblob(n) WHEN 4 THEN x'00ff27' || n
    WHEN 5 THEN 'text' || char(0) || n ELSE 9007199254740993 + n END
FROM n;
UPDATE node SET payload = randomblob(700000) WHERE id = 30;
UPDATE node SET payload = printf('%0200000d', 7) WHERE id = 33;
DELETE FROM node WHERE id = 1200; -- the next one must not get its id

WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 399)
INSERT INTO [Edge of things] (source, kind, target, note)
SELECT n * 3, 'kind' || (n % 3), CASE WHEN n < 395 THEN n + 5 ELSE (n - 1) % 5 + 1 END * 3, CASE WHEN n % 4 THEN 'it''s "so"' END FROM n;

WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 300)
INSERT INTO document (code, part, org, body, bytes, seen)
SELECT
  'code ' || (n / 4), n % 4, 'org-' || (n / 4 % 5),
  CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN n WHEN 2 THEN n / 7.0 ELSE 'body' || n END, zeroblob(n % 9), n
FROM n;
INSERT INTO page (id, code, part, text)
SELECT seen * 5, code, part, 'page of ' || code FROM document;
INSERT INTO reader SELECT 'reader ' || seen, code, part FROM document WHERE seen % 10 = 0;
ANALYZE;
