"""All rows of a database, as one value to compare."""

import psycopg
from psycopg import sql

_TABLES = """
SELECT c.oid::regclass::text, n.nspname, c.relname FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname !~ '^(pg_|information_schema|tenantry)'
ORDER BY 1
"""


def rows_of(url: str) -> dict[str, tuple[int, str | None]]:
    """Each table's number of rows and a hash of them all; the ledger's are left out."""
    found: dict[str, tuple[int, str | None]] = {}
    with psycopg.connect(url) as look:
        look.execute("SET row_security = off")
        for name, schema, table in look.execute(_TABLES).fetchall():
            hashed = sql.SQL(
                'SELECT count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text COLLATE "C")) FROM {} AS t'
            ).format(sql.Identifier(schema, table))
            count, hash_ = look.execute(hashed).fetchone() or (0, None)
            found[name] = (count, hash_)
    return found
