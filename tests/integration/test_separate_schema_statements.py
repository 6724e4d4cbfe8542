"""A statement does the same to shared tables, to a tenant's, and to tables that nobody migrates."""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg import sql

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from tests.integration.separated import Separating, of_tables

#: Foreign keys to itself, in a circle, and of every action; keys of two columns, and unique ones beside.
SCHEMA = """
CREATE TABLE a (
  id integer PRIMARY KEY, org text, code text UNIQUE,
  boss integer REFERENCES a ON DELETE SET NULL ON UPDATE CASCADE, fav integer, n integer DEFAULT 0
);
CREATE TABLE b (
  id integer PRIMARY KEY, a_id integer NOT NULL REFERENCES a ON DELETE CASCADE ON UPDATE CASCADE,
  alt integer REFERENCES a ON DELETE SET DEFAULT ON UPDATE SET NULL, n integer DEFAULT 0
);
ALTER TABLE a ADD FOREIGN KEY (fav) REFERENCES b ON DELETE SET NULL ON UPDATE CASCADE;
CREATE TABLE c (
  b_id integer REFERENCES b ON DELETE CASCADE ON UPDATE CASCADE, k integer, a_id integer REFERENCES a,
  n integer DEFAULT 0, PRIMARY KEY (b_id, k), UNIQUE (a_id, k)
);
INSERT INTO a SELECT t * 1000 + i, 'o' || t, 'c' || t * 1000 + i
  FROM generate_series(0, 2) AS t, generate_series(1, 8) AS i;
INSERT INTO b (id, a_id) SELECT id, id FROM a;
INSERT INTO c SELECT id, 1, id FROM b WHERE id % 2 = 0;
"""
TABLES = (
    {"name": "a", "tenant": {"expression": "org"}},
    {"name": "b", "tenant": {"parent": "a", "on": {"a_id": "id"}}},
    {"name": "c", "tenant": {"parent": "b", "on": {"b_id": "id"}}},
)
#: `{i}` and `{j}` are ids of one tenant, `{l}` to `{h}` a range of them, `{k}` 1 or 2.
STATEMENTS = (
    "INSERT INTO a (id, org, code) VALUES ({i}, 'o{t}', 'c{j}')",
    (
        "INSERT INTO a (id, org, code, n) VALUES ({i}, 'o{t}', 'c{j}', 1) "
        "ON CONFLICT (id) DO UPDATE SET n = a.n + 1, code = excluded.code"
    ),
    (
        "INSERT INTO a (id, org, code) VALUES ({i}, 'o{t}', 'c{i}'), ({j}, 'o{t}', 'c{j}') "
        "ON CONFLICT DO NOTHING"
    ),
    "INSERT INTO b (id, a_id, alt) VALUES ({i}, {j}, {l})",
    "INSERT INTO c VALUES ({i}, {k}, {j}) ON CONFLICT DO NOTHING",
    "INSERT INTO c VALUES ({i}, {k}, {j})",
    "UPDATE a SET id = {i} WHERE id = {j}",
    "UPDATE b SET id = {i} WHERE id = {j}",
    "UPDATE c SET k = 3 - k WHERE b_id BETWEEN {l} AND {h}",
    "UPDATE b SET a_id = {i}, n = n + 1 WHERE id = {j}",
    "UPDATE a SET boss = {i}, fav = {l} WHERE id = {j}",
    "UPDATE a SET boss = id WHERE id BETWEEN {l} AND {h}",
    "UPDATE a SET code = 'c{i}', n = n + 1 WHERE id = {j}",
    "DELETE FROM a WHERE id = {i}",
    "DELETE FROM b WHERE id BETWEEN {l} AND {h}",
    "DELETE FROM c WHERE a_id BETWEEN {l} AND {h}; DELETE FROM a WHERE id BETWEEN {l} AND {h}",
    "WITH d AS (DELETE FROM c WHERE b_id = {i} RETURNING *) INSERT INTO c SELECT b_id, k + 2, a_id, n FROM d",
    (
        "WITH d AS (UPDATE a SET n = n + 1 WHERE id = {i} RETURNING id) "
        "UPDATE b SET n = n + 1 FROM d WHERE a_id = d.id"
    ),
)


@dataclass
class Sides:
    """A database that is migrated and one that is not, and sessions of old and new code."""

    migration: Separating
    control: psycopg.Connection
    choice: random.Random
    stack: ExitStack
    _sessions: dict[str, psycopg.Connection] = field(default_factory=dict)

    def session(self, path: str) -> psycopg.Connection:
        """The session with a search path."""
        if path not in self._sessions:
            opened = self.stack.enter_context(psycopg.connect(self.migration.url, autocommit=True))
            opened.execute(sql.SQL("SET search_path = ") + sql.Identifier(path) + sql.SQL(", public"))
            self._sessions[path] = opened
        return self._sessions[path]

    def write(self, times: int, *, old: bool, suffix: str = "") -> None:
        """Give transactions to both, and see each time that they ended the same way, with the same rows."""
        for _ in range(times):
            tenant = self.choice.randint(0, 2)
            path = self.choice.choice(["public", f"tenant_o{tenant}"] if old else [f"tenant_o{tenant}"])
            statements = [self._one(tenant) for _ in range(self.choice.choice((1, 1, 1, 2, 3)))]
            undone = self.choice.random() < 0.1
            ended = [
                _ends(session, statements, undone=undone) for session in (self.control, self.session(path))
            ]
            assert ended[0] == ended[1], (path, statements)
            for table in "abc":
                wanted = _rows(self.control, [f"public.{table}"])
                assert _rows(self.session("public"), [f"public.{table}{suffix}"]) == wanted, statements
                own = [f"tenant_o{each}.{table}" for each in range(3)]
                assert _rows(self.session("public"), own) == wanted, (path, statements)

    def _one(self, tenant: int) -> str:
        i, j, low = (tenant * 1000 + self.choice.randint(1, 12) for _ in range(3))
        high, k = low + self.choice.randint(0, 4), self.choice.randint(1, 2)
        return self.choice.choice(STATEMENTS).format(t=tenant, i=i, j=j, l=low, h=high, k=k)


def _ends(session: psycopg.Connection, statements: list[str], *, undone: bool) -> bool:
    try:
        with session.transaction(force_rollback=undone):
            for statement in statements:
                session.execute(statement.encode())
    except psycopg.errors.IntegrityError:
        return False
    return True


def _rows(session: psycopg.Connection, tables: list[str]) -> list[str]:
    each = "SELECT (to_jsonb(t) - 'tenant_id')::text FROM {} AS t"
    every = " UNION ALL ".join(each.format(table) for table in tables)
    return [row for (row,) in session.execute(f"{every} ORDER BY 1".encode())]


@pytest.fixture
def sides(postgres: EmbeddedPostgres, valkey: EmbeddedValkey, database: str) -> Iterator[Sides]:
    """Both, the migrated one past `schemas`."""
    with ExitStack() as stack:
        operator = stack.enter_context(psycopg.connect(postgres.url(), autocommit=True))
        operator.execute("CREATE DATABASE nobody_migrates")
        stack.callback(operator.execute, "DROP DATABASE nobody_migrates WITH (FORCE)")
        url = postgres.url("nobody_migrates")
        control = stack.enter_context(psycopg.connect(url, autocommit=True))
        control.execute(SCHEMA)
        migration = of_tables(database, valkey.url, postgres, SCHEMA, *TABLES)
        migration.to("schemas")
        yield Sides(migration, control, random.Random(os.environ.get("SEED", "1")), stack)


def test_every_statement_ends_as_on_tables_that_nobody_migrates(sides: Sides) -> None:
    sides.write(150, old=True)
    sides.migration.to("switch")
    sides.write(80, old=False, suffix="_shared")
    sides.migration.back("application")
    sides.write(40, old=True)
    sides.migration.to("verify")
