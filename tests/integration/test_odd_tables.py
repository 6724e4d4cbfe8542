"""The whole backfill, with real workers, on tables as they come: any kind of key or none, odd names."""

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from control.embedded.valkey import EmbeddedValkey
from control.plan.model import Plan
from control.preflight.checklist import look
from sql.errors import QuarantineError
from sql.job import Range
from sql.postgres.batch import JobSQL, range_parameters
from sql.postgres.connection import connect
from tests.integration.backfilling import filling
from tests.integration.migrated import ground
from tests.integration.test_preflight import UNPREPARED
from worker import jobs, ledger
from worker.jobs import Job

#: As many rows as fill some pages, over and over.
_ROWS = 3_000


def _plan(url: str, *tables: dict[str, Any], **more: Any) -> Plan:
    given = {"name": "odd", "database": {"url": url}, "backfill": {"first_batch": 100}, "tables": tables}
    return Plan.model_validate(given | more)


@pytest.fixture
def operator(database: str) -> Iterator[psycopg.Connection]:
    """The operator's session on an empty database."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def _jobs(url: str) -> dict[str, Job]:
    """Each job by the part that it is for."""
    with connect(url, "test") as connection:
        migration = ledger.read(connection, "odd")
        return {job.part: job for job in jobs.of_migration(connection, migration.id)}


def _wrong(connection: psycopg.Connection, table: str, expected: str, column: str = "tenant_id") -> int:
    """The rows whose tenant is not `expected`, an expression."""
    query = sql.SQL("SELECT count(*) FROM {} AS t WHERE {} IS DISTINCT FROM ({})").format(
        sql.SQL(table), sql.Identifier(column), sql.SQL(expected)
    )
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _batches(connection: psycopg.Connection, part: str) -> int:
    row = connection.execute(
        "SELECT count(*) FROM tenantry.batches AS b JOIN tenantry.jobs AS j ON j.id = b.job_id "
        "WHERE j.part = %s AND b.state = 'done' AND b.rows > 0",
        [part],
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_table_without_any_key_is_filled_by_its_pages(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """Rows that are each other's equals, too, and those that a lookup knows."""
    operator.execute(
        f"""
        CREATE TABLE bare (org int, body text);
        CREATE TABLE orgs (id int, slug text);
        INSERT INTO orgs SELECT n, 'org-' || n FROM generate_series(0, 6) AS n;
        INSERT INTO bare SELECT n % 7, repeat('x', n % 50) FROM generate_series(1, {_ROWS}) AS n;
        INSERT INTO bare SELECT 3, 'twin' FROM generate_series(1, 500);
        """.encode()
    )
    bare = {"name": "bare", "tenant": {"lookup": "orgs", "on": {"org": "id"}, "column": "slug"}}
    with filling(_plan(database, bare), valkey.url) as running:
        running.end()
    job = _jobs(database)['"public"."bare"']
    assert (job.spec.key, job.spec.paging, job.state) == ((), "pages", "complete")
    assert _batches(operator, job.part) > 10
    assert _wrong(operator, "bare", "'org-' || org") == 0


def test_rows_of_a_keyless_table_are_set_aside_by_their_place_and_the_others_filled(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    operator.execute("CREATE TABLE bare (org text)")
    operator.execute("INSERT INTO bare SELECT nullif(n % 1000, 500)::text FROM generate_series(1, 3000) AS n")
    with (
        pytest.raises(Exception, match=r"3 row\(s\) of .* in quarantine, .*\(\d+,\d+\)"),
        filling(_plan(database, {"name": "bare", "tenant": {"expression": "org"}}), valkey.url) as running,
    ):
        running.end()
    assert _wrong(operator, "bare", "coalesce(org, '')") == 0
    aside = operator.execute("SELECT ctid::text FROM bare WHERE tenant_id = '' ORDER BY 1").fetchall()
    kept = operator.execute("SELECT key[1] FROM tenantry.quarantine ORDER BY 1").fetchall()
    assert kept == aside


#: Keys that are no primary key: what makes them, the way of paging, the columns that the job has from it.
UNIQUE: dict[str, tuple[str, str, tuple[tuple[str, str | None], ...]]] = {
    "a unique index on columns that are NOT NULL": (
        "CREATE UNIQUE INDEX by_code ON coded (code, n DESC)",
        "striped",
        (("code", None), ("n", None)),
    ),
    "beside unique indexes that don't hold every row, or hold NULLs, or aren't of columns": (
        (
            "CREATE UNIQUE INDEX a ON coded (n) WHERE n > 10; CREATE UNIQUE INDEX b ON coded (loose); "
            "CREATE UNIQUE INDEX c ON coded (lower(code)); CREATE UNIQUE INDEX d ON coded (code)"
        ),
        "contiguous",
        (("code", None),),
    ),
    "a unique index under a collation of its own": (
        'CREATE UNIQUE INDEX by_code ON coded (code COLLATE "C")',
        "contiguous",
        (("code", 'pg_catalog."C"'),),
    ),
    "a deferred unique constraint": (
        "ALTER TABLE coded ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED",
        "pages",
        (("n", None),),
    ),
}


@pytest.mark.parametrize("made_by", UNIQUE)
def test_a_table_with_a_unique_key_is_filled_by_it(
    made_by: str, database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    statement, paging, key = UNIQUE[made_by]
    operator.execute("CREATE TABLE coded (code text NOT NULL, n int NOT NULL, loose int)")
    operator.execute(statement.encode())
    operator.execute(
        "INSERT INTO coded SELECT CASE n % 2 WHEN 0 THEN 'b' ELSE 'B' END || md5(n::text), n, nullif(n, 7) "
        f"FROM generate_series(1, {_ROWS}) AS n".encode()
    )
    coded = {"name": "coded", "tenant": {"expression": "left(code, 2)"}, "paging": paging}
    with filling(_plan(database, coded), valkey.url) as running:
        running.end()
    job = _jobs(database)['"public"."coded"']
    assert tuple((column.name, column.collation) for column in job.spec.key) == key
    assert job.spec.paging == paging
    assert _batches(operator, job.part) > 10
    assert _wrong(operator, "coded", "left(code, 2)") == 0


def test_a_batch_runs_along_an_index_of_another_collation_than_its_columns(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """The reading of the bounds as well as the update."""
    operator.execute(
        """
        CREATE TABLE worded (n int NOT NULL, word text COLLATE "C" NOT NULL, tenant_id text DEFAULT '');
        INSERT INTO worded SELECT n % 3, md5(n::text) FROM generate_series(1, 20000) AS n;
        CREATE UNIQUE INDEX by_word ON worded (n, word COLLATE "POSIX");
        ANALYZE worded;
        """
    )
    worded = {"name": "worded", "tenant": {"expression": "word"}, "paging": "striped"}
    with filling(_plan(database, worded), valkey.url) as running:
        running.end()
    job = _jobs(database)['"public"."worded"']
    row = operator.execute(
        "SELECT by, lower, upper, stripe FROM tenantry.batches WHERE lower IS NOT NULL "
        "ORDER BY id DESC LIMIT 1"
    ).fetchone()
    assert row is not None
    last = Range(by=row[0], lower=row[1], upper=row[2], stripe=row[3])
    bounds = range_parameters(last)
    for statement, more in (
        (JobSQL(job.spec).fill(last.shape), {"batch": 1}),
        (JobSQL(job.spec).edges(lower=True), {"rows": 100, "width": 10}),
    ):
        explained = operator.execute(b"EXPLAIN " + statement.as_bytes(), bounds | more)
        plan = "\n".join(line for (line,) in explained)
        assert re.search(
            r"using by_word on worded t .*\n +Index Cond: \(\(ROW\(n, .*word.*\) > .* <= ROW\(", plan
        ), plan
        assert "Seq Scan on worded" not in plan


#: Everything that a name may hold: capitals, quotes, a space, a dot, a percent sign, braces, non-ASCII. One
#: fills the 63 bytes that there are, and two tables differ only in which part of their name a dot belongs to.
_SCHEMA = 'Süd "x".%(y)s {0}'
_OWNER, _LONG, _LOOKED_UP = 'Par."ent" %s {a} ä', "K" * 60 + "€", "%(batch)s"
_NAMES = {
    "schema": _SCHEMA,
    "dotted": _SCHEMA + ".a",
    "owner": _OWNER,
    "long": _LONG,
    "looked_up": _LOOKED_UP,
    "twin": "a." + _LOOKED_UP,
    "lookup": "Look % {}",
    "id": 'Id "%"',
    "word": "Wörd.{x} %s",
    "slug": "Te'na\\nt",
    "of": "t",
}
_TENANT = 'tenant "Id" %s {} ß'


def _odd(template: str) -> sql.Composed:
    return sql.SQL(template).format(**{name: sql.Identifier(odd) for name, odd in _NAMES.items()})


def _named(table: str, schema: str = "schema") -> str:
    return _odd(f"{{{schema}}}.{{{table}}}").as_string()


_ODD = f"""
CREATE SCHEMA {{schema}};
CREATE SCHEMA {{dotted}};
CREATE TABLE {{schema}}.{{owner}} ({{id}} bigint PRIMARY KEY, {{word}} text);
CREATE TABLE {{schema}}.{{long}} ({{of}} bigint, {{word}} text COLLATE "C" NOT NULL, UNIQUE ({{word}}));
CREATE TABLE {{schema}}.{{twin}} ({{of}} bigint);
CREATE TABLE {{dotted}}.{{looked_up}} ({{of}} bigint) PARTITION BY HASH ({{of}});
CREATE TABLE {{schema}}.{{slug}} PARTITION OF {{dotted}}.{{looked_up}}
  FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE {{schema}}.{{word}} PARTITION OF {{dotted}}.{{looked_up}}
  FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE {{schema}}.{{lookup}} ({{id}} bigint, {{slug}} text);
INSERT INTO {{schema}}.{{owner}} SELECT n, 'org-' || n % 7 FROM generate_series(1, 300) AS n;
INSERT INTO {{schema}}.{{lookup}} SELECT n, 'org-' || n % 7 FROM generate_series(1, 300) AS n;
INSERT INTO {{schema}}.{{long}} SELECT 1 + n % 300, 'ö%' || n FROM generate_series(1, {_ROWS}) AS n;
INSERT INTO {{schema}}.{{twin}} SELECT 1 + n % 300 FROM generate_series(1, {_ROWS}) AS n;
INSERT INTO {{dotted}}.{{looked_up}} SELECT 1 + n % 300 FROM generate_series(1, {_ROWS}) AS n;
ANALYZE;
"""


def _odd_plan(url: str) -> Plan:
    """A table of each source that is worked out, one of them with `otherwise`."""
    expression = _odd("CASE WHEN {word} LIKE 'org-%' THEN {word} END").as_string()
    looked_up = {"lookup": _named("lookup"), "on": {_NAMES["of"]: _NAMES["id"]}, "column": _NAMES["slug"]}
    parent = {"parent": _named("owner"), "on": {_NAMES["of"]: _NAMES["id"]}}
    return _plan(
        url,
        {"name": _named("owner"), "tenant": {"expression": expression}},
        {"name": _named("long"), "tenant": parent, "paging": "striped"},
        {"name": _named("twin"), "tenant": parent | {"otherwise": "{no} %s one"}},
        {"name": _named("looked_up", "dotted"), "tenant": looked_up},
        tenant={"column": _TENANT, "pattern": r"^[a-z0-9-]+$|^\{no\} %s one$"},
    )


def test_whatever_its_names_a_table_is_looked_at_and_filled(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """In schemas that are not in the search path; as parent, lookup and partition as well."""
    operator.execute(_odd(_ODD))
    operator.execute(_odd("INSERT INTO {schema}.{twin} VALUES (999)"))
    plan = _odd_plan(database)
    with connect(database, "test") as connection:
        findings = look(ground(connection, plan))
    assert [finding for finding in findings if finding.level == "stop"] == []
    not_unique = f"{_named('looked_up', 'dotted')}: one {_named('lookup')} to a row"
    assert {finding.name for finding in findings if finding.level == "warn"} == {*UNPREPARED, not_unique}

    with filling(plan, valkey.url) as running:
        operator.execute(_odd("INSERT INTO {schema}.{long} VALUES (5, 'new % {{}}')"))
        running.end()
    for table in plan.tables:
        expected = "'org-' || t.t % 7"
        if table.name == _named("owner"):
            expected = _odd("{word}").as_string()
        if table.name == _named("twin"):
            expected = f"CASE WHEN t.t = 999 THEN '{{no}} %s one' ELSE {expected} END"
        assert _wrong(operator, table.name, expected, _TENANT) == 0
    assert len(_jobs(database)) == 5


def test_a_key_whose_not_null_is_not_validated_is_none(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """PostgreSQL 18 calls the column NOT NULL all the same; no range of it holds the row with NULL."""
    operator.execute(
        f"""
        CREATE TABLE coded (code text);
        INSERT INTO coded SELECT nullif(n, 7)::text FROM generate_series(1, {_ROWS}) AS n;
        ALTER TABLE coded ADD CONSTRAINT coded_not_null NOT NULL code NOT VALID;
        CREATE UNIQUE INDEX by_code ON coded (code);
        """.encode()
    )
    coded = {"name": "coded", "tenant": {"expression": "coalesce(code, 'none')"}}
    with (
        pytest.raises(QuarantineError, match=r"1 row\(s\).*violates not-null"),
        filling(_plan(database, coded), valkey.url) as running,
    ):
        running.end()
    assert _jobs(database)['"public"."coded"'].spec.key == ()
    assert _wrong(operator, "coded", "coalesce(code, '')") == 0


def test_a_key_of_a_type_whose_operators_are_not_in_the_search_path_is_none(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """Its index is in one order, and a comparison of such a citext in another, that of text."""
    operator.execute(
        f"""
        CREATE SCHEMA elsewhere;
        CREATE EXTENSION citext SCHEMA elsewhere;
        CREATE TABLE coded (code elsewhere.citext PRIMARY KEY);
        INSERT INTO coded
          SELECT CASE n % 2 WHEN 0 THEN 'b' ELSE 'C' END || n FROM generate_series(1, {_ROWS}) AS n;
        """.encode()
    )
    coded = {"name": "coded", "tenant": {"expression": "left(code::text, 1)"}}
    with filling(_plan(database, coded), valkey.url) as running:
        running.end()
    assert _jobs(database)['"public"."coded"'].spec.key == ()
    assert _wrong(operator, "coded", "left(code::text, 1)") == 0


@pytest.mark.parametrize("source", [{"constant": "acme"}, {"expression": "org"}])
@pytest.mark.parametrize("sentinel", ["", "null", "none"])
def test_whatever_a_column_that_was_there_holds_for_no_tenant_its_rows_are_filled(
    operator: psycopg.Connection, database: str, valkey: EmbeddedValkey, sentinel: str, source: dict[str, Any]
) -> None:
    operator.execute("CREATE TABLE kept (id integer PRIMARY KEY, org text, tenant_id text)")
    operator.execute("INSERT INTO kept VALUES (1, 'acme', NULL), (2, 'acme', ''), (3, 'acme', 'umbra')")
    plan = _plan(database, {"name": "kept", "tenant": source}, tenant={"sentinel": sentinel})
    with filling(plan, valkey.url) as running:
        running.end()
    found = operator.execute("SELECT tenant_id FROM kept ORDER BY id").fetchall()
    assert found == [("acme",), ("acme",), ("umbra",)]
