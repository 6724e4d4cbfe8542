"""A ledger as an earlier program made it, and a program that is killed while it upgrades one."""

import os
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

_FOLDER = Path(__file__).parents[1] / "ledgers"
_AT = "TENANTRY_TEST_KILLED_AT"
#: Called in the process of a command, before it.
ARMED = "tests.integration.older:armed"


def statements(database: str) -> str:
    """What made a ledger of version 1 in `postgres` or in `sqlite`."""
    return (_FOLDER / f"version_1_{database}.sql").read_text(encoding="utf-8")


def made_older(url: str) -> None:
    """Let the ledger of a server be as version 1 had it, with all that it had a place for."""
    with psycopg.connect(url) as session:
        session.execute("ALTER SCHEMA tenantry RENAME TO later")
        session.execute(statements("postgres").encode())
        tables = session.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'tenantry'::regnamespace AND relkind = 'r' "
            "ORDER BY relname <> 'migrations', relname <> 'jobs', relname"
        ).fetchall()
        for (table,) in tables:
            columns = session.execute(
                "SELECT attname, attidentity <> '' FROM pg_attribute WHERE attnum > 0 "
                "AND attrelid = to_regclass(format('tenantry.%%I', %s::text)) ORDER BY attnum",
                [table],
            ).fetchall()
            names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)
            copy = "INSERT INTO tenantry.{0} ({1}) OVERRIDING SYSTEM VALUE SELECT {1} FROM later.{0}"
            session.execute(sql.SQL(copy).format(sql.Identifier(table), names))
            for name in (name for name, counts in columns if counts):
                goes_on = (
                    "SELECT setval(pg_get_serial_sequence('tenantry.{0}', {1}), max({2}) + 1, false) "
                    "FROM tenantry.{0} HAVING count(*) > 0"
                )
                session.execute(
                    sql.SQL(goes_on).format(sql.Identifier(table), name, sql.Identifier(name)),
                )
        session.execute("DROP SCHEMA later CASCADE")


def file_made_older(path: Path) -> None:
    """Let the ledger of a file be as version 1 had it, with all that it had a place for."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection, closing(_in_memory()) as old:
        wanted = [
            row[0] for row in old.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        ]
        of_now = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'tenantry_*'"
        kept: dict[str, tuple[list[str], list[Any]]] = {}
        for table in wanted:
            columns = [row[1] for row in old.execute(f'PRAGMA table_info("{table}")')]
            rows = connection.execute(f'SELECT {", ".join(columns)} FROM "{table}"').fetchall()
            kept[table] = (columns, rows)
        lasting = {*wanted, "tenantry_paces", "tenantry_holds", "tenantry_version"}
        for (table,) in connection.execute(of_now).fetchall():
            if table in lasting:
                connection.execute(f'DROP TABLE "{table}"')
        connection.executescript(statements("sqlite"))
        for table, (columns, rows) in kept.items():
            marks = ", ".join("?" * len(columns))
            connection.executemany(f'INSERT INTO "{table}" ({", ".join(columns)}) VALUES ({marks})', rows)


def _in_memory() -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:")
    memory.executescript(statements("sqlite"))
    return memory


def killed_after(number: int) -> dict[str, str]:
    """The environment of a command that is killed after so many statements of its upgrade."""
    return {_AT: str(number)}


def armed() -> None:
    """Kill this process right after a statement of an upgrade, before the transaction's end."""
    execute = psycopg.Cursor.execute
    left = int(os.environ[_AT])

    def counted(cursor: psycopg.Cursor[Any], query: Any, *rest: Any, **more: Any) -> Any:
        nonlocal left
        done = execute(cursor, query, *rest, **more)
        if _text(query, cursor).startswith("/* tenantry upgrade."):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return done

    psycopg.Cursor.execute = counted  # type: ignore[method-assign,assignment]


def _text(query: Any, cursor: psycopg.Cursor[Any]) -> str:
    return query if isinstance(query, str) else str(query.as_string(cursor)) if query else ""


def in_columns(connection: sqlite3.Connection) -> Sequence[tuple[Any, ...]]:
    """Every column and index of a file's ledger, whatever text they were made by."""
    return connection.execute(
        "SELECT t.name, 'column', c.name, c.type, c.\"notnull\", c.dflt_value, c.pk, c.cid "
        "FROM sqlite_schema AS t, pragma_table_xinfo(t.name) AS c "
        "WHERE t.type = 'table' AND t.name GLOB 'tenantry_*' UNION ALL "
        "SELECT t.name, 'index', i.name, i.\"unique\", i.origin, i.partial, x.name, x.seqno "
        "FROM sqlite_schema AS t, pragma_index_list(t.name) AS i, pragma_index_info(i.name) AS x "
        "WHERE t.type = 'table' AND t.name GLOB 'tenantry_*' ORDER BY 1, 2, 3, 8"
    ).fetchall()
