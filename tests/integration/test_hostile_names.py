"""Names and values made to be taken for SQL, or for a format, are names and values there and back."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.model import Plan
from control.plan.writing import toml
from tests.integration.operating import Operator

#: Each as table, column, key, index, policy, constraint, schema and setting, all at once.
NAMES = (
    'x"; DROP TABLE innocent; --',
    "x'; DROP TABLE innocent; --",
    "%s %(n)s %% {} {0} {name}",
    "$$; $1 :n ?",
    "SELECT",
    " leading, trailing ",
    "back\\slash\ttab\nline",
    "ü" * 31,
    "x" * 63,
)
ROWS = 50


def _made(session: psycopg.Connection, name: str) -> None:
    """Two tables in a schema, they and their columns and constraints called by one name or nearly so."""
    names = {
        key: sql.Identifier(value)
        for key, value in {
            "schema": name,
            "parent": name,
            "child": _near(name, "c"),
            "id": name,
            "owner": _near(name, "o"),
            "points": _near(name, "p"),
            "key": _near(name, "k"),
            "child_key": _near(name, "l"),
            "foreign": _near(name, "f"),
        }.items()
    }
    session.execute("CREATE TABLE innocent (id int)")
    parent = "{schema}.{parent} ({id} text, {owner} text NOT NULL, CONSTRAINT {key} PRIMARY KEY ({id}))"
    child = (
        "{schema}.{child} ({id} text, {points} text NOT NULL, CONSTRAINT {child_key} PRIMARY KEY ({id}), "
        "CONSTRAINT {foreign} FOREIGN KEY ({points}) REFERENCES {schema}.{parent})"
    )
    for statement in ("CREATE SCHEMA {schema}", f"CREATE TABLE {parent}", f"CREATE TABLE {child}"):
        session.execute(sql.SQL(statement).format(**names))
    for n in range(ROWS):
        values = [f"{n} {name}", f"{name}{n % 3}", f"{n}c {name}"]
        for table, row in (("parent", values[:2]), ("child", [values[2], values[0]])):
            insert = sql.SQL("INSERT INTO {}.{} VALUES ({}, {})")
            session.execute(insert.format(names["schema"], names[table], *row))


def _near(name: str, letter: str) -> str:
    """Another name like it, of as many bytes."""
    return letter + name[1:] if len(name.encode()) > 62 else name + letter


def _plan(name: str) -> Plan:
    full, child = f"{_quoted(name)}.{_quoted(name)}", f"{_quoted(name)}.{_quoted(_near(name, 'c'))}"
    tables = [
        {
            "name": full,
            "tenant": {"expression": _quoted(_near(name, "o"))},
            "primary_key": [name, _near(name, "t")],
            "indexes": [{"name": _near(name, "i"), "columns": [_near(name, "t")]}],
            "rls": {"policy": name, "mode": "strict", "quiet": "1ms"},
        },
        {
            "name": child,
            "tenant": {"parent": full, "on": {_near(name, "p"): name}},
            "primary_key": [name, _near(name, "t")],
            "rls": {"policy": name, "mode": "strict", "quiet": "1ms"},
        },
    ]
    return Plan.model_validate(
        {
            "name": "hostile",
            "database": {"url": "env:DATABASE_URL"},
            "tenant": {"column": _near(name, "t"), "legacy": name, "pattern": "(?s).*"},
            "tables": tables,
            "verify": {"quiet": "1ms"},
        }
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_hostile_names_go_through_every_stage_and_back(  # noqa: PLR0917  # five fixtures
    name: str,
    tmp_path: Path,
    database: str,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    with psycopg.connect(database, autocommit=True) as session:
        _made(session, name)
    operator = Operator(tmp_path, database, postgres, valkey.url)
    operator.plan.write_text(toml(_plan(name)), encoding="utf-8")
    before = operator.schema()
    for command in (("check",), ("plan",), ("plan", "--sql")):
        operator.tenantry(*command)
    ended = operator.tenantry("run", "--no-throttle")
    assert ended.returncode == 3, ended.stderr
    operator.done("confirm", "application")
    ended = operator.tenantry("run", "--no-throttle")
    if ended.returncode == 3:
        operator.done("confirm", "rls")
        ended = operator.tenantry("run", "--no-throttle")
    assert ended.returncode == 0, ended.stderr
    for command in (("status",), ("events",), ("report",), ("tenants", "list"), ("verify",)):
        operator.done(*command)
    table, column = f"{_quoted(name)}.{_quoted(_near(name, 'c'))}", _quoted(_near(name, "t"))
    with psycopg.connect(database) as session:
        found = session.execute(f"SELECT DISTINCT {column} FROM {table}".encode()).fetchall()
    assert {tenant for (tenant,) in found} == {f"{name}{n}" for n in range(3)}
    operator.done("rollback", "--yes")
    assert operator.schema() == before
