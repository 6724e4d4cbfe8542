-- What is asked of a value before it is written as SQL.

-- name: no_utf_8
-- locks: none of its own: a part of a read. Whether a text is no UTF-8: a letter of it, written anew, is another one. Of most
-- texts, those of ASCII, GLOB alone is asked. No column is called `tenantry_at`, as one may be called `at`.
{value} GLOB '*[^ -~]*' AND EXISTS (
    WITH RECURSIVE letters (tenantry_at) AS (
        SELECT 1 UNION ALL SELECT tenantry_at + 1 FROM letters WHERE tenantry_at < length({value})
    )
    SELECT 1 FROM letters
    WHERE substr({value}, tenantry_at, 1) IS NOT char(unicode(substr({value}, tenantry_at, 1)))
)
