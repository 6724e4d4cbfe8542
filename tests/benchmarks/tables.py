"""The tables that backfills are measured on: made once, and copied file by file for each run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import psycopg
from psycopg import sql

from control.demo import sample
from control.embedded.postgres import EmbeddedPostgres

#: How the key lies in the heap: in the order of insertion, or anywhere.
Key = Literal["ordered", "random"]

_BIG = """
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
_KEYS: dict[Key, str] = {"ordered": "'entity-' || lpad(n::text, 10, '0')", "random": "md5(n::text)"}

#: Rows so small that ten million are made in seconds; no tenant column yet.
_NARROW = """
CREATE TABLE narrow (id bigint NOT NULL);
INSERT INTO narrow SELECT generate_series(1, %(rows)s);
ALTER TABLE narrow ADD PRIMARY KEY (id);
"""

#: `big` again, with one of 50 organisations to look up, and a parent, one for ten rows, that has its tenant.
_TOLD = """
CREATE TABLE orgs (id integer PRIMARY KEY, slug text NOT NULL);
INSERT INTO orgs SELECT n, 'org-' || n FROM generate_series(0, 49) AS n;
CREATE TABLE parents (
    id bigint PRIMARY KEY, org_id integer NOT NULL, note text NOT NULL, tenant_id text NOT NULL DEFAULT ''
);
INSERT INTO parents
SELECT n, n %% 50, md5(n::text), 'org-' || n %% 50 FROM generate_series(0, %(rows)s / 10) AS n;
CREATE TABLE big (
    id bigint NOT NULL,
    org_id integer NOT NULL,
    parent_id bigint NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    tenant_id text NOT NULL DEFAULT ''
);
INSERT INTO big (id, org_id, parent_id, payload)
SELECT n, n / 10 %% 50, n / 10,
       jsonb_build_object('org_id', 'org-' || n / 10 %% 50, 'name', 'entity ' || n, 'note', md5(n::text))
FROM generate_series(1, %(rows)s) AS n;
ALTER TABLE big ADD PRIMARY KEY (id);
CREATE INDEX big_parent ON big (parent_id);
"""

#: WAL files that were written to are used again after a checkpoint, up to so much.
SETTLED = {"min_wal_size": "2GB"}
_WRITE_WAL = (
    "SELECT count(pg_logical_emit_message(false, 'bench', repeat('x', 1000000))) "
    "FROM generate_series(1, 1500)"
)


def settle(server: EmbeddedPostgres) -> None:
    """Give a new server, started as `SETTLED`, the WAL files that one has after a while at work.

    A new one has none to use again. Whoever needs the next makes it, 16 MB on disk, and every commit waits
    for that: it stalled an application for up to 1.8 s beside a backfill, and will not on a server in use.
    """
    with psycopg.connect(server.url(), autocommit=True) as operator:
        operator.execute(_WRITE_WAL)
        operator.execute("CHECKPOINT")


@dataclass
class Tables:
    """The templates on a server, made when first asked for, and one copy at a time.

    A million rows are copied in 0.8 s and made in 9 s; a copy writes no WAL, and leaves nothing of the table
    in the server's own cache.
    """

    server: EmbeddedPostgres
    rows: int
    _made: set[str] = field(default_factory=set)

    def big(self, key: Key, rows: int | None = None) -> str:
        """The address of a fresh database with `big`, its tenant column there with the sentinel.

        It has as many rows as all copies, unless told otherwise; other sizes have a template each.
        """
        rows = self.rows if rows is None else rows
        return self._copy(f"big_{key}_{rows}", partial(_make, _BIG.replace("{key}", _KEYS[key]), rows))

    def told(self) -> str:
        """The address of a fresh database with `big`, whose tenants a lookup or a parent tells."""
        return self._copy(f"told_{self.rows}", partial(_make, _TOLD, self.rows))

    def narrow(self, rows: int) -> str:
        """The address of a fresh database with `narrow`, which has no tenant column."""
        return self._copy(f"narrow_{rows}", partial(_make, _NARROW, rows))

    def graph(self, entities: int) -> str:
        """The address of a fresh database with the sample graph of so many entities, twice the relations."""

        def make(connection: psycopg.Connection) -> None:
            sample.create(connection)
            sample.fill(connection, entities=entities)

        return self._copy(f"graph_{entities}", make)

    def empty(self) -> str:
        """The address of a fresh database with `big` without a row."""
        return self.big("ordered", 0)

    def url(self, user: str = "postgres") -> str:
        """The address of the copy."""
        return self.server.url("bench", user)

    def _copy(self, template: str, make: Callable[[psycopg.Connection], None]) -> str:
        with psycopg.connect(self.server.url(), autocommit=True) as operator:
            if template not in self._made:
                operator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(template)))
                with psycopg.connect(self.server.url(template), autocommit=True) as connection:
                    make(connection)
                    connection.execute("VACUUM (FREEZE, ANALYZE)")
                self._made.add(template)
            operator.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
            operator.execute(
                sql.SQL("CREATE DATABASE bench TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(template)
                )
            )
            # Each run begins with clean buffers, and pays for the full page images of what it touches.
            operator.execute("CHECKPOINT")
        return self.url()


def _make(statements: str, rows: int, connection: psycopg.Connection) -> None:
    # Client-side binding: several statements in one string take no parameters from the server.
    psycopg.ClientCursor(connection).execute(statements.encode(), {"rows": rows})
