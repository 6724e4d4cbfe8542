-- Views that lean on a key that changes (`control/keys/views.py`): what their GROUP BY selects beside the key.

-- name: define
-- locks: ACCESS EXCLUSIVE on the view {view}, in the transaction of the swap. Replaced and never dropped: owner, rights,
-- comments, defaults, triggers and the views upon it stay.
CREATE OR REPLACE VIEW {view}{options} AS {definition}

-- name: look
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it. Those of the views that are there, and whether this role
-- may define them anew.
SELECT c.oid::bigint, pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(c.relnamespace, 'CREATE')
FROM pg_class AS c WHERE c.oid = ANY (%(oids)s::oid[]) AND c.relkind = 'v'

-- name: stand_in
-- locks: ACCESS SHARE on {table}; a temporary table that is rolled back with the trial. As {table} is, by its name.
CREATE TEMPORARY TABLE {name} (LIKE {table})

-- name: stand_in_column
-- locks: ACCESS EXCLUSIVE on the temporary {table} alone.
ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} text

-- name: stand_in_key
-- locks: ACCESS EXCLUSIVE on the temporary {table} alone, which is empty.
ALTER TABLE {table} ADD PRIMARY KEY ({columns})

-- name: trial
-- locks: ACCESS SHARE on the tables of the view; a temporary view that is rolled back with the trial.
CREATE TEMPORARY VIEW {view} AS {definition}

-- name: trial_columns
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it. What the trial's view {view} shows, as the catalog of
-- before has it.
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), (
  SELECT format('%%I.%%I', cn.nspname, co.collname)
  FROM pg_collation AS co JOIN pg_namespace AS cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation
)
FROM pg_attribute AS a WHERE a.attrelid = %(view)s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum

-- name: written
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it. The definition of the trial's view {view}, as the
-- catalog of before has it.
SELECT rtrim(pg_get_viewdef(%(view)s::regclass), ';')
