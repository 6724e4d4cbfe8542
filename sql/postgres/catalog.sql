-- name: bare_search_path
-- locks: none; it ends with the reading's transaction. With an empty search path every definition comes back
-- with its names in full, so that it means the same in whatever session it is run again. And the statements below
-- are planned once: 11 ms to plan, 3 to run, five times a step.
SELECT set_config('search_path', '', true), set_config('plan_cache_mode', 'force_generic_plan', true)

-- name: resolve
-- locks: none; to_regclass looks the names up without touching the tables.
SELECT coalesce(
         (SELECT array_agg(to_regclass(n.name)::oid ORDER BY n.place) FROM unnest(%(names)s::text[]) WITH ORDINALITY AS n (name, place)),
         '{{}}'
       ),
       current_schemas(false)::text[]

-- name: has_mirror
-- locks: none; to_regclass looks the name up without touching the table.
SELECT to_regclass('tenantry_mirror.tables') IS NOT NULL

-- name: renamed_away
-- locks: ACCESS SHARE on a table of ours. The shared tables that a switch to tenants' schemas has renamed.
SELECT named, shared::oid FROM tenantry_mirror.tables WHERE switched

-- name: called
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it. What the table of an oid is called, if it has the columns of
-- the one that is looked for: in a restored database another may have its oid.
SELECT format('%%I.%%I', n.nspname, c.relname)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = %(oid)s AND c.relkind IN ('r', 'p') AND %(columns)s::text[] <@ ARRAY(
  SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
)

-- name: partitions
-- locks: ACCESS SHARE on the tables and their partitions until the reading is rolled back; it waits only behind an
-- ACCESS EXCLUSIVE lock. Each partitioned table with the partitions below it, and whether they hold rows or have
-- partitions of their own: the upper ones first.
SELECT root.oid, part.relid::oid, part.isleaf
FROM pg_class AS root
CROSS JOIN LATERAL pg_partition_tree(root.oid) AS part
JOIN pg_class AS c ON c.oid = part.relid
WHERE root.oid = ANY (%(oids)s) AND root.relkind = 'p' AND part.relid <> root.oid
ORDER BY root.oid, part.isleaf, CASE WHEN NOT part.isleaf THEN part.level END, c.relnamespace::regnamespace::text, c.relname

-- name: tables
-- locks: ACCESS SHARE on the tables for an instant (their size), and on the system catalogs; it waits only
-- behind an ACCESS EXCLUSIVE lock.
SELECT
  c.oid,
  jsonb_build_object(
    'oid', c.oid::bigint,
    'schema_', n.nspname,
    'name', c.relname,
    'kind', c.relkind::text,
    'owner', pg_get_userbyid(c.relowner),
    'rows', c.reltuples::bigint,
    'bytes', coalesce(pg_total_relation_size(c.oid), 0),
    'row_security', c.relrowsecurity,
    'forced', c.relforcerowsecurity,
    'replica_identity', c.relreplident::text,
    'partition_of', CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::regclass::text END,
    'under', (
      SELECT jsonb_build_array(un.nspname, u.relname) FROM pg_inherits AS i
      JOIN pg_class AS u ON u.oid = i.inhparent JOIN pg_namespace AS un ON un.oid = u.relnamespace
      WHERE i.inhrelid = c.oid AND c.relispartition
    ),
    'inherits', EXISTS (
      SELECT FROM pg_inherits AS i JOIN pg_class AS child ON child.oid = i.inhrelid
      WHERE c.oid IN (i.inhrelid, i.inhparent) AND NOT child.relispartition
    ),
    'columns', coalesce((
      SELECT jsonb_agg(jsonb_build_object(
        'name', a.attname,
        'type', format_type(a.atttypid, a.atttypmod),
        -- PostgreSQL 18 marks a column so while the constraint is NOT VALID too, and old rows may hold NULLs.
        'not_null', a.attnotnull AND NOT EXISTS (
          SELECT FROM pg_constraint AS k
          WHERE k.conrelid = c.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated
        ),
        'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
        'identity', a.attidentity::text,
        'generated', a.attgenerated <> '',
        'collation', (SELECT co.collname FROM pg_collation AS co WHERE co.oid = a.attcollation)
      ) ORDER BY a.attnum)
      FROM pg_attribute AS a
      LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ), '[]'),
    'constraints', coalesce((
      SELECT jsonb_agg(jsonb_build_object(
        'name', k.conname,
        'kind', k.contype::text,
        'columns', coalesce((
          SELECT jsonb_agg(a.attname ORDER BY key.place)
          FROM unnest(k.conkey) WITH ORDINALITY AS key (number, place)
          JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = key.number
        ), '[]'),
        'definition', pg_get_constraintdef(k.oid),
        'index', (SELECT i.relname FROM pg_class AS i WHERE i.oid = k.conindid),
        'validated', k.convalidated,
        'deferrable', k.condeferrable,
        'deferred', k.condeferred,
        'comment', obj_description(k.oid, 'pg_constraint')
      ) ORDER BY k.conname)
      FROM pg_constraint AS k
      WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'c')
    ), '[]'),
    'indexes', coalesce((
      SELECT jsonb_agg(jsonb_build_object(
        'name', ic.relname,
        'definition', pg_get_indexdef(i.indexrelid),
        'columns', (
          SELECT jsonb_agg(coalesce(a.attname, pg_get_indexdef(i.indexrelid, key.place::int, false)) ORDER BY key.place)
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS key (number, place)
          LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = key.number AND key.number <> 0
          WHERE key.place <= i.indnkeyatts
        ),
        'include', coalesce((
          SELECT jsonb_agg(a.attname ORDER BY key.place)
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS key (number, place)
          JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = key.number
          WHERE key.place > i.indnkeyatts
        ), '[]'),
        'collations', (
          SELECT jsonb_agg(
            CASE WHEN key.coll <> a.attcollation THEN (
              SELECT format('%%I.%%I', cn.nspname, co.collname)
              FROM pg_collation AS co JOIN pg_namespace AS cn ON cn.oid = co.collnamespace WHERE co.oid = key.coll
            ) END ORDER BY key.place
          )
          FROM unnest(i.indkey::int2[], i.indcollation::oid[]) WITH ORDINALITY AS key (number, coll, place)
          LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = key.number AND key.number <> 0
          WHERE key.place <= i.indnkeyatts
        ),
        -- A comparison finds operators in the search path: of a citext that lies elsewhere it would take text's.
        'btree_columns', am.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (
          SELECT FROM unnest(i.indclass::oid[]) AS o (class)
          JOIN pg_opclass AS oc ON oc.oid = o.class JOIN pg_namespace AS ocn ON ocn.oid = oc.opcnamespace
          WHERE NOT oc.opcdefault OR (ocn.nspname <> 'pg_catalog' AND ocn.nspname <> ALL (%(path)s::text[]))
        ),
        'plain', am.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL
          AND NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
          AND NOT EXISTS (SELECT FROM unnest(i.indoption::int2[]) AS o (flags) WHERE o.flags <> 0)
          AND NOT EXISTS (
            SELECT FROM unnest(i.indclass::oid[]) AS o (class)
            JOIN pg_opclass AS oc ON oc.oid = o.class WHERE NOT oc.opcdefault
          )
          AND NOT EXISTS (
            SELECT FROM unnest(i.indkey::int2[], i.indcollation::oid[]) AS key (number, coll)
            JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = key.number
            WHERE key.coll <> a.attcollation
          ),
        'unique', i.indisunique,
        -- What it takes to build another one like it: a unique one may have to hold the tenant too.
        'keys', coalesce((
          SELECT jsonb_agg(jsonb_build_object(
            'sql', coalesce(quote_ident(a.attname), pg_get_indexdef(i.indexrelid, key.place::int, false)),
            'collation', (
              SELECT format('%%I.%%I', cn.nspname, co.collname)
              FROM pg_collation AS co JOIN pg_namespace AS cn ON cn.oid = co.collnamespace WHERE co.oid = key.coll
            ),
            'operators', format('%%I.%%I', ocn.nspname, oc.opcname),
            'descending', key.flags & 1 <> 0,
            'nulls_first', key.flags & 2 <> 0
          ) ORDER BY key.place)
          FROM unnest(i.indkey::int2[], i.indcollation::oid[], i.indclass::oid[], i.indoption::int2[])
            WITH ORDINALITY AS key (number, coll, class, flags, place)
          JOIN pg_opclass AS oc ON oc.oid = key.class JOIN pg_namespace AS ocn ON ocn.oid = oc.opcnamespace
          LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = key.number AND key.number <> 0
          WHERE i.indisunique AND NOT i.indisprimary AND am.amname = 'btree' AND key.place <= i.indnkeyatts
        ), '[]'),
        'nulls_not_distinct', coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
        'predicate', pg_get_expr(i.indpred, i.indrelid),
        'statistics', coalesce((
          SELECT jsonb_object_agg(ia.attnum, ia.attstattarget) FROM pg_attribute AS ia
          WHERE i.indisunique AND ia.attrelid = i.indexrelid AND ia.attstattarget >= 0
        ), '{{}}'),
        'valid', i.indisvalid,
        'ready', i.indisready,
        'clustered', i.indisclustered,
        'replica_identity', i.indisreplident,
        'options', coalesce(to_jsonb(ic.reloptions), '[]'),
        'tablespace', (SELECT s.spcname FROM pg_tablespace AS s WHERE s.oid = ic.reltablespace),
        'constraint', (
          SELECT k.conname FROM pg_constraint AS k
          WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
        ),
        'attached_to', (
          SELECT up.relname FROM pg_inherits AS h JOIN pg_class AS up ON up.oid = h.inhparent
          WHERE h.inhrelid = i.indexrelid
        ),
        'comment', obj_description(i.indexrelid, 'pg_class')
      ) ORDER BY ic.relname)
      FROM pg_index AS i
      JOIN pg_class AS ic ON ic.oid = i.indexrelid
      JOIN pg_am AS am ON am.oid = ic.relam
      WHERE i.indrelid = c.oid
    ), '[]'),
    'policies', coalesce((
      SELECT jsonb_agg(jsonb_build_object(
        'name', p.polname,
        'permissive', p.polpermissive,
        'roles', (
          SELECT jsonb_agg(CASE WHEN r.role = 0 THEN 'public' ELSE pg_get_userbyid(r.role) END ORDER BY r.place)
          FROM unnest(p.polroles) WITH ORDINALITY AS r (role, place)
        ),
        'command', CASE p.polcmd
          WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL'
        END,
        'using', pg_get_expr(p.polqual, p.polrelid),
        'check', pg_get_expr(p.polwithcheck, p.polrelid)
      ) ORDER BY p.polname)
      FROM pg_policy AS p
      WHERE p.polrelid = c.oid
    ), '[]'),
    'triggers', coalesce((
      SELECT jsonb_agg(jsonb_build_object(
        'name', t.tgname,
        'function', format('%%I.%%I', fn.nspname, f.proname),
        'definition', pg_get_triggerdef(t.oid),
        'enabled', t.tgenabled <> 'D',
        'fires', CASE t.tgenabled WHEN 'A' THEN 'always' WHEN 'R' THEN 'replica' ELSE 'origin' END,
        -- Bits of tgtype: 1 FOR EACH ROW, 16 UPDATE.
        'each_row', t.tgtype & 1 <> 0,
        'on_update', t.tgtype & 16 <> 0,
        'of_columns', coalesce((
          SELECT jsonb_agg(a.attname ORDER BY key.place)
          FROM unnest(t.tgattr::int2[]) WITH ORDINALITY AS key (number, place)
          JOIN pg_attribute AS a ON a.attrelid = t.tgrelid AND a.attnum = key.number
        ), '[]'),
        'cloned', t.tgparentid <> 0
      ) ORDER BY t.tgname)
      FROM pg_trigger AS t
      JOIN pg_proc AS f ON f.oid = t.tgfoid
      JOIN pg_namespace AS fn ON fn.oid = f.pronamespace
      -- PostgreSQL 14 calls a partition's copy of its parent's trigger internal; so are those of foreign keys.
      WHERE t.tgrelid = c.oid AND (NOT t.tgisinternal OR (t.tgparentid <> 0 AND t.tgconstrrelid = 0))
    ), '[]'),
    -- What a GROUP BY of the primary key selects beside it leans on that: the key can't be dropped under it.
    'views', coalesce((
      SELECT jsonb_agg(jsonb_build_object(
        'oid', v.oid::bigint,
        'schema_', vn.nspname,
        'name', v.relname,
        'definition', rtrim(pg_get_viewdef(v.oid), ';'),
        'options', coalesce(to_jsonb(v.reloptions), '[]'),
        'columns', (
          SELECT jsonb_agg(jsonb_build_object(
            'name', a.attname,
            'type', format_type(a.atttypid, a.atttypmod),
            'collation', (
              SELECT format('%%I.%%I', cn.nspname, co.collname)
              FROM pg_collation AS co JOIN pg_namespace AS cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation
            )
          ) ORDER BY a.attnum)
          FROM pg_attribute AS a WHERE a.attrelid = v.oid AND a.attnum > 0 AND NOT a.attisdropped
        )
      ) ORDER BY vn.nspname, v.relname)
      FROM pg_class AS v
      JOIN pg_namespace AS vn ON vn.oid = v.relnamespace
      WHERE v.relkind = 'v' AND v.oid IN (
        SELECT r.ev_class FROM pg_constraint AS k
        JOIN pg_depend AS d ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid
        JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
        WHERE k.conrelid = c.oid AND k.contype = 'p'
      )
    ), '[]')
  )
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%(oids)s)

-- name: foreign_keys
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it. Foreign keys that a partition has from its
-- parent are left out: they follow it.
SELECT
  k.conrelid,
  k.confrelid,
  jsonb_build_object(
    'name', k.conname,
    'schema_', n.nspname,
    'table', c.relname,
    'columns', (
      SELECT jsonb_agg(a.attname ORDER BY key.place)
      FROM unnest(k.conkey) WITH ORDINALITY AS key (number, place)
      JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = key.number
    ),
    'target_schema', tn.nspname,
    'target', t.relname,
    'target_columns', (
      SELECT jsonb_agg(a.attname ORDER BY key.place)
      FROM unnest(k.confkey) WITH ORDINALITY AS key (number, place)
      JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = key.number
    ),
    'target_index', (SELECT i.relname FROM pg_class AS i WHERE i.oid = k.conindid),
    'definition', pg_get_constraintdef(k.oid),
    'on_delete', k.confdeltype::text,
    'on_update', k.confupdtype::text,
    'match', k.confmatchtype::text,
    -- SET NULL (columns) is PostgreSQL 15's: read through jsonb, where 14 has no such column.
    'set_columns', coalesce((
      SELECT jsonb_agg(a.attname ORDER BY key.place)
      FROM jsonb_array_elements_text(nullif(to_jsonb(k) -> 'confdelsetcols', 'null')) WITH ORDINALITY AS key (number, place)
      JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = key.number::int2
    ), '[]'),
    'validated', k.convalidated,
    -- NOT ENFORCED is PostgreSQL 18's.
    'enforced', coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true),
    'deferrable', k.condeferrable,
    'deferred', k.condeferred,
    'comment', obj_description(k.oid, 'pg_constraint')
  )
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_class AS t ON t.oid = k.confrelid
JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = ANY (%(oids)s) OR k.confrelid = ANY (%(oids)s))
ORDER BY n.nspname, c.relname, k.conname

-- name: ours
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it.
SELECT
  ARRAY(
    SELECT n.nspname::text FROM pg_namespace AS n WHERE n.nspname = ANY (%(schemas)s) ORDER BY 1
  ),
  ARRAY(
    SELECT format('%%I.%%I', n.nspname, f.proname)
    FROM pg_proc AS f JOIN pg_namespace AS n ON n.oid = f.pronamespace
    WHERE n.nspname = ANY (%(schemas)s) ORDER BY 1
  ),
  ARRAY(
    SELECT format('%%I.%%I', n.nspname, c.relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (%(schemas)s) AND c.relkind = 'S' ORDER BY 1
  ),
  ARRAY(
    SELECT format('%%s %%I', g.tgrelid::regclass, g.tgname)
    FROM pg_trigger AS g JOIN pg_proc AS f ON f.oid = g.tgfoid JOIN pg_namespace AS n ON n.oid = f.pronamespace
    WHERE n.nspname = ANY (%(schemas)s) AND g.tgparentid = 0 ORDER BY 1
  )
