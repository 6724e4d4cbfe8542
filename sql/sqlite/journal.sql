-- Compares the sample's tables in a file with what the application was promised, as sql/postgres/journal.sql does. The
-- journal comes into temporary tables; what it says nothing of is worked out from the sample's formulas
-- (control/demo/sample.py; a test holds the two together), so that every row of the tables is accounted for.

-- name: create_entities
-- locks: none on the file; the table is temporary. The last state of each entity that was written to.
CREATE TEMPORARY TABLE journal_entities (id TEXT PRIMARY KEY, org TEXT, properties TEXT) WITHOUT ROWID;

-- name: create_relations
-- locks: none on the file; the table is temporary. The relations that were inserted.
CREATE TEMPORARY TABLE journal_relations (
    id TEXT PRIMARY KEY, org TEXT, source_id TEXT, target_id TEXT, properties TEXT, weight REAL
) WITHOUT ROWID;

-- name: create_deleted
-- locks: none on the file; the table is temporary. The entities that were deleted.
CREATE TEMPORARY TABLE journal_deleted (id TEXT PRIMARY KEY) WITHOUT ROWID;

-- name: create_gone
-- locks: none on the file; the table is temporary. The relations that the deletes said went with them.
CREATE TEMPORARY TABLE journal_gone (id TEXT PRIMARY KEY) WITHOUT ROWID;

-- name: create_shared
-- locks: none on the file; the table is temporary. What a shared entity may hold in the end.
CREATE TEMPORARY TABLE journal_shared (id TEXT, org TEXT, properties TEXT);

-- name: index_shared
-- locks: none on the file; the index is temporary.
CREATE INDEX temp.journal_shared_id ON journal_shared (id);

-- name: insert_entities
-- locks: none on the file.
INSERT INTO journal_entities VALUES (?, ?, ?);

-- name: insert_relations
-- locks: none on the file.
INSERT INTO journal_relations VALUES (?, ?, ?, ?, ?, ?);

-- name: insert_deleted
-- locks: none on the file.
INSERT INTO journal_deleted VALUES (?);

-- name: insert_gone
-- locks: none on the file.
INSERT INTO journal_gone VALUES (?);

-- name: insert_shared
-- locks: none on the file.
INSERT INTO journal_shared VALUES (?, ?, ?);

-- name: entities
-- locks: none; a read. {tenant} is the tenant column, or the organisation itself where there is no such column.
-- Properties are known in full of the entities that were written to; as text, for nobody writes JSON anew.
WITH RECURSIVE numbers (n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :entities
),
sample AS (
    SELECT printf('entity-%010d', n) AS id, printf('org-%02d', n % :organisations) AS org FROM numbers
),
expected AS (
    SELECT id, org, NULL AS properties FROM sample
    WHERE id NOT IN (SELECT id FROM journal_entities) AND id NOT IN (SELECT id FROM journal_deleted)
    UNION ALL
    SELECT id, org, properties FROM journal_entities
),
judged AS (
    SELECT
        e.id,
        t.id IS NULL AS lost,
        t.properties <> e.properties OR json_extract(t.properties, '$.org_id') IS NOT e.org AS changed,
        {tenant} IS NOT e.org AS strange
    FROM expected AS e
    LEFT JOIN entities AS t ON t.id = e.id
)
SELECT
    count(*) FILTER (WHERE lost) AS lost,
    min(id) FILTER (WHERE lost) AS lost_id,
    count(*) FILTER (WHERE NOT lost AND changed) AS changed,
    min(id) FILTER (WHERE NOT lost AND changed) AS changed_id,
    count(*) FILTER (WHERE NOT lost AND strange) AS strange,
    min(id) FILTER (WHERE NOT lost AND strange) AS strange_id
FROM judged;

-- name: shared
-- locks: none; a read. Columns and {tenant} as in entities.
WITH expected AS (
    SELECT id, min(org) AS org FROM journal_shared GROUP BY id
),
judged AS (
    SELECT
        e.id,
        t.id IS NULL AS lost,
        NOT EXISTS (
            SELECT 1 FROM journal_shared AS j WHERE j.id = e.id AND j.properties = t.properties
        ) AS changed,
        {tenant} IS NOT e.org AS strange
    FROM expected AS e
    LEFT JOIN entities AS t ON t.id = e.id
)
SELECT
    count(*) FILTER (WHERE lost) AS lost,
    min(id) FILTER (WHERE lost) AS lost_id,
    count(*) FILTER (WHERE NOT lost AND changed) AS changed,
    min(id) FILTER (WHERE NOT lost AND changed) AS changed_id,
    count(*) FILTER (WHERE NOT lost AND strange) AS strange,
    min(id) FILTER (WHERE NOT lost AND strange) AS strange_id
FROM judged;

-- name: deleted
-- locks: none; a read.
SELECT count(*) AS there, min(d.id) AS there_id FROM journal_deleted AS d JOIN entities AS t ON t.id = d.id;

-- name: relations
-- locks: none; a read. {tenant} as in entities. A relation must be gone if one of its ends was deleted; `untold` counts
-- where the delete itself said otherwise.
WITH RECURSIVE numbers (n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :relations
),
before AS (
    SELECT n, (n - 1) * :entities / :relations AS before FROM numbers
),
placed AS (
    SELECT
        n,
        before,
        n - 1 - (before * :relations + :entities - 1) / :entities AS nth,
        before % :organisations + 1 AS first
    FROM before
),
among AS (
    SELECT n, before, nth, first, (:entities - first) / :organisations + 1 AS members FROM placed
),
joined AS (
    SELECT
        n,
        before + 1 AS source,
        first + :organisations * (
            (before / :organisations + 1 + ((members - 1) / 2 / 2 + nth) % ((members - 1) / 2)) % members
        ) AS target
    FROM among
),
expected AS (
    SELECT
        printf('relation-%010d', n) AS id,
        printf('org-%02d', source % :organisations) AS org,
        printf('entity-%010d', source) AS source_id,
        printf('entity-%010d', target) AS target_id,
        NULL AS properties,
        NULL AS weight
    FROM joined
    UNION ALL
    SELECT id, org, source_id, target_id, properties, weight FROM journal_relations
),
judged AS (
    SELECT
        e.id,
        e.source_id IN (SELECT id FROM journal_deleted)
            OR e.target_id IN (SELECT id FROM journal_deleted) AS gone,
        g.id IS NOT NULL AS told,
        t.id IS NOT NULL AS found,
        t.source_id IS NOT e.source_id OR t.target_id IS NOT e.target_id
            OR t.properties <> e.properties OR t.weight <> e.weight AS changed,
        {tenant} IS NOT e.org AS strange
    FROM expected AS e
    LEFT JOIN relations AS t ON t.id = e.id
    LEFT JOIN journal_gone AS g ON g.id = e.id
)
SELECT
    count(*) FILTER (WHERE gone) AS gone,
    count(*) FILTER (WHERE NOT gone AND NOT found) AS lost,
    min(id) FILTER (WHERE NOT gone AND NOT found) AS lost_id,
    count(*) FILTER (WHERE NOT gone AND found AND changed) AS changed,
    min(id) FILTER (WHERE NOT gone AND found AND changed) AS changed_id,
    count(*) FILTER (WHERE NOT gone AND found AND strange) AS strange,
    min(id) FILTER (WHERE NOT gone AND found AND strange) AS strange_id,
    count(*) FILTER (WHERE gone AND found) AS left_over,
    min(id) FILTER (WHERE gone AND found) AS left_over_id,
    count(*) FILTER (WHERE gone AND NOT told) AS untold,
    min(id) FILTER (WHERE gone AND NOT told) AS untold_id,
    count(*) FILTER (WHERE NOT gone AND told) AS told_wrongly,
    min(id) FILTER (WHERE NOT gone AND told) AS told_wrongly_id
FROM judged;

-- name: orphans
-- locks: none; a read. {same_source} and {same_target} compare the tenants where there are any.
SELECT count(*) AS there, min(r.id) AS there_id
FROM relations AS r
LEFT JOIN entities AS s ON s.id = r.source_id AND {same_source}
LEFT JOIN entities AS t ON t.id = r.target_id AND {same_target}
WHERE s.id IS NULL OR t.id IS NULL;

-- name: totals
-- locks: none; a read.
SELECT (SELECT count(*) FROM entities) AS entities, (SELECT count(*) FROM relations) AS relations;
