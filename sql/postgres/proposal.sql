-- What `tenantry init` asks a database before it proposes a plan.

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

-- name: known_in_column
-- locks: ACCESS SHARE on {table}; a read of at most 1,000 rows.
SELECT quote_ident(%(column)s), count(*), count(nullif(value, ''))
FROM (SELECT {column}::text AS value FROM {table} LIMIT 1000) AS looked_at;

-- name: known_in_json
-- locks: ACCESS SHARE on {table}; a read of at most 1,000 rows. `->>` takes json and jsonb alike, and gives NULL
-- where the document is no object. The first of the keys that any row has.
SELECT quote_ident(%(column)s) || '->>' || quote_literal(key), count(*), count(nullif(document ->> key, ''))
FROM (SELECT {column} AS document FROM {table} LIMIT 1000) AS looked_at
CROSS JOIN unnest(%(keys)s::text[]) WITH ORDINALITY AS keys (key, place)
GROUP BY key, place
HAVING count(nullif(document ->> key, '')) > 0
ORDER BY place
LIMIT 1;
