"""Tables on which all that can have a name has a hostile one, and plans for them."""

from typing import Any

import psycopg
from psycopg import sql

from control.plan.model import Plan

#: The first has a bit of all the others.
NAMES = (
    "x\"'\n*/$tenantry_mirror$;DROP TABLE innocent;--/*%s{}",
    'x"; DROP TABLE innocent; --',
    "x\nDROP TABLE innocent;\n--",
    "*/ DROP TABLE innocent; /*",
    "x$tenantry$; DROP TABLE innocent; --",
    "x$tenantry_guard$; DROP TABLE innocent; --",
    "%s %(n)s {} {0} {name} $$ :n ?",
)
#: A table that is looked up, one with a bit of everything on it, and one that hangs on that.
_SCHEMA = """
CREATE TABLE innocent (id int);
CREATE ROLE {r};
CREATE SCHEMA {n} AUTHORIZATION {r};
GRANT CREATE ON SCHEMA {n} TO PUBLIC;
SET ROLE {r};
CREATE DOMAIN {n}.{d} AS text CHECK (value <> '');
CREATE SEQUENCE {n}.{s};
CREATE TABLE {n}.{n} ({n} {n}.{d} PRIMARY KEY, {t} text NOT NULL);
CREATE TABLE {n}.{a} (
    {n} bigint DEFAULT nextval({sequence}), {o} {n}.{d} NOT NULL, {i} bigint GENERATED ALWAYS AS IDENTITY,
    {g} text GENERATED ALWAYS AS ({o} || 'x') STORED,
    CONSTRAINT {k} PRIMARY KEY ({n}), CONSTRAINT {c} CHECK ({o} <> {text}), CONSTRAINT {u} UNIQUE ({i})
);
CREATE TABLE {n}.{b} ({n} bigint PRIMARY KEY, {p} bigint NOT NULL,
    CONSTRAINT {f} FOREIGN KEY ({p}) REFERENCES {n}.{a} ON DELETE CASCADE);
ALTER SEQUENCE {n}.{s} OWNED BY {n}.{a}.{n};
CREATE INDEX {i} ON {n}.{a} (lower({o})) WHERE {o} <> {text};
CREATE STATISTICS {n}.{z} (dependencies) ON {n}, {o} FROM {n}.{a};
CREATE VIEW {n}.{v} AS SELECT {n}, count(*) AS {v} FROM {n}.{a} GROUP BY {a}.{n};
CREATE FUNCTION {n}.{e}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER {e} BEFORE INSERT OR UPDATE OF {o} ON {n}.{a} FOR EACH ROW EXECUTE FUNCTION {n}.{e}({text});
COMMENT ON TABLE {n}.{a} IS {text};
COMMENT ON COLUMN {n}.{a}.{o} IS {text};
INSERT INTO {n}.{n} SELECT {text} || g, {text} || g FROM generate_series(0, 2) AS g;
INSERT INTO {n}.{a} ({o}) SELECT {text} || g % 3 FROM generate_series(1, 60) AS g;
INSERT INTO {n}.{b} SELECT g, g FROM generate_series(1, 60) AS g;
"""


def near(name: str, letter: str) -> str:
    """Another name like it; that of `n` is the name itself."""
    return name if letter == "n" else letter + name


def quoted(name: str) -> str:
    """The name as the plan writes it."""
    return '"' + name.replace('"', '""') + '"'


def make(url: str, name: str) -> None:
    """Make the tables, and the role that owns them, whose name is near `r`."""
    names = {letter: sql.Identifier(near(name, letter)) for letter in "abcdefgiknoprstuvz"}
    sequence = sql.SQL(".").join([names["n"], names["s"]]).as_string()
    made = sql.SQL(_SCHEMA).format(**names, text=sql.Literal(name), sequence=sql.Literal(sequence))
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(made)


def forget(url: str, *roles: str) -> None:
    """Drop roles, with what they own and what they were granted, where they are there."""
    with psycopg.connect(url, autocommit=True) as session:
        asked = "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)"
        found = [sql.Identifier(role) for (role,) in session.execute(asked, [list(roles)])]
        for what in ("DROP OWNED BY {} CASCADE", "DROP ROLE {}"):
            for role in found:
                session.execute(sql.SQL(what).format(role))


def plan_for(name: str, url: str, tenant: dict[str, Any], **more: Any) -> Plan:
    """A plan for the tables; with a schema for each tenant nothing is built on them."""

    def full(letter: str) -> str:
        return f"{quoted(name)}.{quoted(near(name, letter))}"

    lookup = {"lookup": full("n"), "on": {near(name, "o"): name}, "column": near(name, "t")}
    tables: list[dict[str, Any]] = [
        {"name": full("a"), "tenant": lookup | {"otherwise": name}},
        {"name": full("b"), "tenant": {"parent": full("a"), "on": {near(name, "p"): name}}},
    ]
    if "isolation" not in tenant:
        for table, letter in zip(tables, "wy", strict=True):
            table["primary_key"] = [name, near(name, "q")]
            table["rls"] = {"policy": name, "mode": "strict", "quiet": "1ms"}
            table["indexes"] = [{"name": near(name, letter), "columns": [near(name, "q")]}]
        tables[0]["unique"] = [near(name, "u")]
        tables[1]["rls"]["roles"] = [near(name, "r")]
    called = {"column": near(name, "q"), "legacy": name, "pattern": "(?s).*"}
    return Plan.model_validate(
        {
            "name": "hostile",
            "database": {"url": url},
            "tenant": called | {"setting": "app.x_ümläut" + "y" * 70} | tenant,
            "tables": tables,
            "verify": {"quiet": "1ms"},
        }
        | more
    )
