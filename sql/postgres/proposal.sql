-- What `tenantry init` asks a database before it proposes a plan. {rows} is a table or a sample of it; each statement
-- that reads rows has a time limit of its own.

-- name: tables
-- locks: ACCESS SHARE on the catalog; a read. Extensions' tables and partitions belong to something else.
SELECT n.nspname, c.relname, pg_table_is_visible(c.oid)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname <> ALL (%(ours)s)
  AND NOT EXISTS (
      SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  )
ORDER BY n.nspname, c.relname;

-- name: sample
-- locks: none of its own: rows of about a hundred pages of {table} with their places, inside another statement; so that it
--   takes as long on a table of any size.
(SELECT s.tableoid, s.ctid, s.* FROM {table} AS s TABLESAMPLE SYSTEM ({share}) LIMIT {most})

-- name: known_in_column
-- locks: ACCESS SHARE on {rows}; a read of a small table or of a sample.
SELECT quote_ident(%(column)s), count(*), count(nullif(t.{column}::text, '')) FROM {rows} AS t;

-- name: known_in_json
-- locks: ACCESS SHARE on {rows}; a read of a small table or of a sample. `->>` takes json and jsonb alike, and gives NULL
-- where the document is no object. The first of the keys that any row has.
SELECT quote_ident(%(column)s) || '->>' || quote_literal(key), count(*), count(nullif(t.{column} ->> key, ''))
FROM {rows} AS t
CROSS JOIN unnest(%(keys)s::text[]) WITH ORDINALITY AS keys (key, place)
GROUP BY key, place
HAVING count(nullif(t.{column} ->> key, '')) > 0
ORDER BY place
LIMIT 1;

-- name: quoted
-- locks: none.
SELECT quote_ident(%(name)s);

-- name: called
-- locks: ACCESS SHARE on {rows}; a read of a small table or of a sample. Whether a column of a list of tenants could name
-- them: something in every row, a proper tenant, and another in each.
SELECT count(*) = count(*) FILTER (WHERE t.{column}::text <> '' AND t.{column}::text ~ %(pattern)s),
       count(*) = count(DISTINCT t.{column})
FROM {rows} AS t;

-- name: found_there
-- locks: ACCESS SHARE on {rows} and {other}; for some values of a small table or of a sample a look into a unique index.
SELECT count(*), count(r.there)
FROM (SELECT DISTINCT t.{column} AS value FROM {rows} AS t WHERE t.{column} IS NOT NULL LIMIT 1000) AS v
LEFT JOIN LATERAL (SELECT true AS there FROM {other} AS o WHERE o.{key} = v.value LIMIT 1) AS r ON true;

-- name: untold
-- locks: ACCESS SHARE on {rows} and {other}; a join of a small table or of a sample with what its rows name. How many name
-- nothing, and how many what is not there.
SELECT count(*) FILTER (WHERE {named_nothing}), count(*) FILTER (WHERE NOT {named_nothing} AND r.there IS NULL)
FROM {rows} AS t
LEFT JOIN LATERAL (SELECT true AS there FROM {other} AS o WHERE {pairs} LIMIT 1) AS r ON true;
