"""The table that backfills are measured on, made anew for each run."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from control.embedded.postgres import EmbeddedPostgres

_MAKE = """
CREATE TABLE big (
    id text NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    tenant_id text NOT NULL DEFAULT ''
);
INSERT INTO big (id, kind, payload)
SELECT {key}, 'kind-' || n %% 20,
       jsonb_build_object('org_id', 'org-' || n %% 50, 'name', 'entity ' || n, 'note', md5(n::text))
FROM generate_series(1, %(rows)s) AS n;
ALTER TABLE big ADD PRIMARY KEY (id);
CREATE INDEX big_kind ON big (kind);
"""
_KEYS = {"ordered": "'entity-' || lpad(n::text, 10, '0')", "random": "md5(n::text)"}


@dataclass(frozen=True)
class Measured:
    """One way over the table: seconds, bytes of WAL, and the table's size with indexes before and after."""

    seconds: float
    wal: int
    before: int
    after: int


def make(server: EmbeddedPostgres, name: str, *, rows: int, key: str) -> str:
    """Make a database with the table, the tenant column there with its sentinel; its address."""
    with psycopg.connect(server.url(), autocommit=True) as operator:
        operator.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        operator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = server.url(name)
    # Client-side binding: several statements in one string take no parameters from the server.
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(_MAKE.replace("{key}", _KEYS[key]).encode(), {"rows": rows})
        connection.execute("VACUUM (FREEZE, ANALYZE) big")
        connection.execute("CHECKPOINT")
    return url


def wal_position(connection: psycopg.Connection) -> int:
    """Bytes of WAL so far."""
    row = connection.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").fetchone()
    assert row is not None
    return int(row[0])


def size(connection: psycopg.Connection) -> int:
    """The table's bytes, indexes included."""
    row = connection.execute("SELECT pg_total_relation_size('big')").fetchone()
    assert row is not None
    return int(row[0])
