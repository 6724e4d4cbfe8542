-- Compares the tables with what the application was promised. The journal comes in by COPY; what it says
-- nothing of is worked out from the sample's formulas (control/demo/sample.py; a test holds the two
-- together), so that every row of the tables is accounted for.

-- name: memory
-- locks: none. For this transaction: the joins of ten million rows stay in memory as far as they can, and
-- just-in-time compilation, which costs seconds on small samples, stays off.
SELECT set_config('work_mem', '256MB', true), set_config('jit', 'off', true);

-- name: create_entities
-- locks: none on the sample; the table is temporary. The last state of each entity that was written to.
CREATE TEMPORARY TABLE journal_entities (id text PRIMARY KEY, org text, properties jsonb) ON COMMIT DROP;

-- name: create_relations
-- locks: none on the sample; the table is temporary. The relations that were inserted.
CREATE TEMPORARY TABLE journal_relations (
  id text PRIMARY KEY, org text, source_id text, target_id text, properties jsonb, weight real
) ON COMMIT DROP;

-- name: create_deleted
-- locks: none on the sample; the table is temporary. The entities that were deleted.
CREATE TEMPORARY TABLE journal_deleted (id text PRIMARY KEY) ON COMMIT DROP;

-- name: create_gone
-- locks: none on the sample; the table is temporary. The relations that the deletes said went with them.
CREATE TEMPORARY TABLE journal_gone (id text PRIMARY KEY) ON COMMIT DROP;

-- name: create_shared
-- locks: none on the sample; the table is temporary. What a shared entity may hold in the end.
CREATE TEMPORARY TABLE journal_shared (id text, org text, properties jsonb) ON COMMIT DROP;

-- name: copy
-- locks: none on the sample.
COPY {journal} FROM STDIN;

-- name: analyze
-- locks: none on the sample.
ANALYZE journal_entities, journal_relations, journal_deleted, journal_gone, journal_shared;

-- name: entities
-- locks: ACCESS SHARE on graph_entities. {tenant} is the tenant column, or the organisation itself where
-- there is no such column. Properties are known in full of the entities that were written to.
WITH sample AS (
  SELECT
    'entity-' || lpad(n::text, 10, '0') AS id,
    'org-' || lpad((n %% %(organisations)s)::text, 2, '0') AS org
  FROM generate_series(1, %(entities)s::bigint) AS n
),
expected AS (
  SELECT coalesce(j.id, s.id) AS id, coalesce(j.org, s.org) AS org, j.properties
  FROM sample AS s
  FULL JOIN journal_entities AS j ON j.id = s.id
),
judged AS (
  SELECT
    e.id,
    t.id IS NULL AS lost,
    t.properties <> e.properties OR t.properties->>'org_id' IS DISTINCT FROM e.org AS changed,
    {tenant} IS DISTINCT FROM e.org AS strange
  FROM expected AS e
  LEFT JOIN graph_entities AS t ON t.id = e.id
  WHERE NOT EXISTS (SELECT FROM journal_deleted AS d WHERE d.id = e.id)
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
-- locks: ACCESS SHARE on graph_entities. Columns and {tenant} as in entities.
WITH expected AS (
  SELECT id, min(org) AS org, array_agg(properties) AS promised FROM journal_shared GROUP BY id
),
judged AS (
  SELECT
    e.id,
    t.id IS NULL AS lost,
    t.properties <> ALL (e.promised) AS changed,
    {tenant} IS DISTINCT FROM e.org AS strange
  FROM expected AS e
  LEFT JOIN graph_entities AS t ON t.id = e.id
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
-- locks: ACCESS SHARE on graph_entities.
SELECT count(*) AS there, min(d.id) AS there_id
FROM journal_deleted AS d JOIN graph_entities AS t ON t.id = d.id;

-- name: relations
-- locks: ACCESS SHARE on graph_relations. {tenant} as in entities. A relation must be gone if one of its ends
-- was deleted; `untold` counts where the delete itself said otherwise. OFFSET 0 keeps each row's judgement
-- from being worked out again for every one of the thirteen figures.
WITH sample AS (
  SELECT
    'relation-' || lpad(n::text, 10, '0') AS id,
    'org-' || lpad((source %% %(organisations)s)::text, 2, '0') AS org,
    'entity-' || lpad(source::text, 10, '0') AS source_id,
    'entity-' || lpad(target::text, 10, '0') AS target_id
  FROM generate_series(1, %(relations)s::bigint) AS n
  CROSS JOIN LATERAL (SELECT (n - 1) * %(entities)s / %(relations)s AS before) AS a
  CROSS JOIN LATERAL (
    SELECT
      n - 1 - (before * %(relations)s + %(entities)s - 1) / %(entities)s AS nth,
      before %% %(organisations)s + 1 AS first
  ) AS b
  CROSS JOIN LATERAL (SELECT (%(entities)s - first) / %(organisations)s + 1 AS members) AS c
  CROSS JOIN LATERAL (SELECT (members - 1) / 2 AS reach) AS d
  CROSS JOIN LATERAL (
    SELECT
      before + 1 AS source,
      first + %(organisations)s
        * ((before / %(organisations)s + 1 + (reach / 2 + nth) %% reach) %% members) AS target
  ) AS e
),
expected AS (
  SELECT id, org, source_id, target_id, NULL::jsonb AS properties, NULL::real AS weight FROM sample
  UNION ALL
  SELECT id, org, source_id, target_id, properties, weight FROM journal_relations
),
judged AS (
  SELECT
    e.id,
    e.source_id IN (SELECT id FROM journal_deleted) OR e.target_id IN (SELECT id FROM journal_deleted) AS gone,
    g.id IS NOT NULL AS told,
    t.id IS NOT NULL AS found,
    (t.source_id, t.target_id) IS DISTINCT FROM (e.source_id, e.target_id)
      OR t.properties <> e.properties OR t.weight <> e.weight AS changed,
    {tenant} IS DISTINCT FROM e.org AS strange
  FROM expected AS e
  LEFT JOIN graph_relations AS t ON t.id = e.id
  LEFT JOIN journal_gone AS g ON g.id = e.id
  OFFSET 0
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
-- locks: ACCESS SHARE on both tables. {same_source} and {same_target} compare the tenants where there are any.
SELECT count(*) AS there, min(r.id) AS there_id
FROM graph_relations AS r
LEFT JOIN graph_entities AS s ON s.id = r.source_id AND {same_source}
LEFT JOIN graph_entities AS t ON t.id = r.target_id AND {same_target}
WHERE s.id IS NULL OR t.id IS NULL;

-- name: totals
-- locks: ACCESS SHARE on both tables.
SELECT
  (SELECT count(*) FROM graph_entities) AS entities,
  (SELECT count(*) FROM graph_relations) AS relations;
