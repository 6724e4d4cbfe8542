-- What `tenantry init` asks a file before it proposes a plan. {rows} is a table or a sample of it; each statement that reads
-- rows has a time limit of its own.

-- name: is_plain
-- locks: none. Whether a name is a column's without quotes, and no keyword.
SELECT {name} = 'a value' FROM (SELECT 'a value' AS {quoted});

-- name: more_than
-- locks: none; a read of as many rows as that.
SELECT count(*) > {most} FROM (SELECT 1 FROM {table} LIMIT {most} + 1);

-- name: largest_rowid
-- locks: none; a look at either end of the table.
SELECT min({rowid}) AS least, max({rowid}) AS largest FROM {table};

-- name: sample
-- locks: none of its own: some rows at {places} of a table, spread over it by their rowids.
(SELECT {rowid}, * FROM {table} WHERE {rowid} IN ({places}))

-- name: place
-- locks: none of its own: some rows from a rowid on.
SELECT * FROM (SELECT {rowid} FROM {table} WHERE {rowid} >= {from_} ORDER BY {rowid} LIMIT {most})

-- name: first
-- locks: none of its own: the first rows of a table that has no rowid.
(SELECT * FROM {table} LIMIT {most})

-- name: known_in_column
-- locks: none; a read of a small table or of a sample.
SELECT :column AS expression, count(*) AS rows, count(nullif(CAST(t.{column} AS TEXT), '')) AS known FROM {rows} AS t;

-- name: known_in_json
-- locks: none; a read of a small table or of a sample. What is no JSON is let pass, and told; the first of the keys that any
-- row has.
SELECT k.key, count(*) AS rows, count(nullif(d.document ->> ('$."' || k.key || '"'), '')) AS known, count(d.broken) AS broken
FROM (
    SELECT CASE WHEN json_valid(t.{column}) AND json_type(t.{column}) = 'object' THEN t.{column} END AS document,
           CASE WHEN t.{column} IS NOT NULL AND NOT json_valid(t.{column}) THEN 1 END AS broken
    FROM {rows} AS t
) AS d CROSS JOIN (SELECT value AS key, key AS place FROM json_each(:keys)) AS k
GROUP BY k.place HAVING count(nullif(d.document ->> ('$."' || k.key || '"'), '')) > 0 ORDER BY k.place LIMIT 1;

-- name: values_of
-- locks: none; a read of a small table or of a sample. What a column of a list of tenants calls them.
SELECT CAST(t.{column} AS TEXT) AS value, count(*) AS rows FROM {rows} AS t GROUP BY 1;

-- name: found_there
-- locks: none; for some values of a small table or of a sample a look into a unique index.
SELECT count(*) AS "values", count((SELECT 1 FROM {other} AS o WHERE o.{key} = v.value LIMIT 1)) AS found
FROM (SELECT DISTINCT t.{column} AS value FROM {rows} AS t WHERE t.{column} IS NOT NULL LIMIT 1000) AS v;

-- name: untold
-- locks: none; a look for each row of a small table or of a sample. How many name nothing, and how many what is not there.
SELECT count(*) FILTER (WHERE {named_nothing}) AS "nothing",
       count(*) FILTER (WHERE NOT {named_nothing} AND NOT EXISTS (SELECT 1 FROM {other} AS o WHERE {pairs})) AS dangling
FROM {rows} AS t;
