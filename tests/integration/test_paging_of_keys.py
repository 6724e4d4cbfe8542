"""Every row is in exactly one batch, whatever its key and its way of paging: tried on a server."""

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from control.jobs import heap_of, job_spec
from control.plan.model import Plan
from sql.job import By, JobSpec, Range
from sql.job import Paging as Way
from sql.postgres import catalog
from sql.postgres.batch import JobSQL, range_parameters
from worker import paging
from worker.jobs import Job

_LEDGER_OF_THE_SWEEP = """
CREATE SCHEMA IF NOT EXISTS tenantry;
CREATE TABLE IF NOT EXISTS tenantry.quarantine (job_id bigint, key text[]);
"""


@dataclass(frozen=True)
class Keyed:
    """A table's key: its columns with their types, what makes it one, and what its rows hold."""

    columns: tuple[tuple[str, str], ...]
    made_by: str
    rows: list[tuple[Any, ...]]


_TEXT = st.text(alphabet=string.ascii_letters + string.digits + "äß %'\"\\{}-_€", max_size=8)
_OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "uuid": st.uuids(),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False, places=4),
    "date": st.dates(),
    "timestamp with time zone": st.datetimes(timezones=st.just(UTC)),
    "time": st.times(),
    "interval": st.timedeltas(),
    "bytea": st.binary(max_size=8),
    "text": _TEXT,
    'text COLLATE "C"': _TEXT,
    'text COLLATE "pg_c_utf8"': _TEXT,
    "boolean": st.booleans(),
}
_PRIMARY = "ALTER TABLE paged ADD PRIMARY KEY ({plain})"
_UNIQUE = "CREATE UNIQUE INDEX paged_by ON paged ({plain})"
#: A unique index under a collation that is not the columns' own.
_COLLATED = "CREATE UNIQUE INDEX paged_by ON paged ({collated})"
_BACKWARDS = "CREATE UNIQUE INDEX paged_by ON paged ({backwards})"
_NOTHING = "SELECT"
_KEYS = (_PRIMARY, _UNIQUE, _COLLATED, _BACKWARDS)


@st.composite
def keyed(draw: st.DrawFn, made_by: Sequence[str] = (*_KEYS, _NOTHING)) -> Keyed:
    types = draw(st.lists(st.sampled_from(sorted(_OF_TYPE)), min_size=1, max_size=3))
    rows = draw(st.lists(st.tuples(*(_OF_TYPE[of] for of in types)), max_size=40, unique=True))
    columns = tuple((f"k{n} %", of) for n, of in enumerate(types))
    return Keyed(columns, draw(st.sampled_from(made_by)), rows)


def _table(connection: psycopg.Connection, made: Keyed, way: Way, stripes: int) -> JobSpec:
    """The table, and its job as the catalog makes it."""
    connection.execute("DROP TABLE IF EXISTS paged")
    names = [sql.Identifier(name) for name, _ in made.columns]
    of = [sql.SQL(type_) for _, type_ in made.columns]
    columns = [sql.SQL("{} {} NOT NULL").format(*pair) for pair in zip(names, of, strict=True)]
    connection.execute(
        sql.SQL("CREATE TABLE paged ({}, tenant_id text NOT NULL DEFAULT '')").format(
            sql.SQL(", ").join(columns)
        )
    )
    texts = ["text" in type_ for _, type_ in made.columns]
    collated = [
        sql.SQL('{} COLLATE "POSIX"' if text else "{}").format(name)
        for name, text in zip(names, texts, strict=True)
    ]
    connection.execute(
        sql.SQL(made.made_by).format(
            plain=sql.SQL(", ").join(names),
            collated=sql.SQL(", ").join(collated),
            backwards=sql.SQL(", ").join([sql.SQL("{} DESC").format(name) for name in names]),
        )
    )
    insert = sql.SQL("INSERT INTO paged VALUES ({}) ON CONFLICT DO NOTHING").format(
        sql.SQL(", ").join([sql.Placeholder()] * len(names))
    )
    with connection.cursor() as cursor:
        cursor.executemany(insert, made.rows)
    plan = Plan.model_validate(
        {
            "name": "paged",
            "database": {"url": "postgresql://"},
            "tables": [{"name": "paged", "tenant": {"constant": "x"}}],
        }
    )
    found = catalog.read(connection, ["paged"]).table("paged")
    spec, _why = job_spec(plan, plan.tables[0], found, heap_of(connection, found))
    return spec.model_copy(update={"paging": way, "stripes": stripes, "rows_per_page": 5.0})


def _visits(connection: psycopg.Connection, spec: JobSpec, batch_rows: int) -> list[Range]:
    """All that planning makes of the table, group by group."""
    pages = connection.execute("SELECT pg_relation_size('paged') / 8192").fetchone()
    last = paging.last_key(connection, spec, pages[0] if pages else 0)
    if last is None:
        return []
    now = datetime.now(UTC)
    job = Job(1, "paged", "paged", "fill", "running", spec, last, None, False, 100, 0, 0, now, None)
    by: By = "page" if spec.paging == "pages" else "key"
    visits: list[Range] = []
    while True:
        bounds = paging.uppers(connection, job, batch_rows)
        visits += list(paging.ranges(by, job.planned_to, bounds, spec.stripes))
        if bounds[-1] == last:
            return visits
        job = replace(job, planned_to=bounds[-1])


def _rows_of(connection: psycopg.Connection, spec: JobSpec, range_: Range) -> list[str]:
    query = sql.SQL("SELECT t.ctid::text FROM paged AS t WHERE {}").format(
        JobSQL(spec).in_range(range_.shape)
    )
    return [row[0] for row in connection.execute(query, range_parameters(range_))]


def _all_of(connection: psycopg.Connection, where: str = "true") -> list[str]:
    rows = connection.execute(f"SELECT ctid::text FROM paged WHERE {where}".encode())
    return sorted(row[0] for row in rows)


@pytest.fixture
def server(connection: psycopg.Connection) -> psycopg.Connection:
    """A connection for tables that each example makes anew, with other types."""
    connection.execute("SET DateStyle = 'ISO, YMD'")
    connection.prepare_threshold = None
    connection.execute(_LEDGER_OF_THE_SWEEP)
    return connection


_ON_A_SERVER = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(("way", "stripes"), [("contiguous", 1), ("striped", 8), ("pages", 16), ("pages", 1)])
@given(data=st.data(), batch_rows=st.integers(1, 9))
@_ON_A_SERVER
def test_every_row_is_in_exactly_one_batch(
    way: Way, stripes: int, data: st.DataObject, batch_rows: int, server: psycopg.Connection
) -> None:
    made = data.draw(keyed() if way == "pages" else keyed(_KEYS))
    spec = _table(server, made, way, stripes)
    visits = _visits(server, spec, batch_rows)
    assert sorted(row for visit in visits for row in _rows_of(server, spec, visit)) == _all_of(server)


@given(made=keyed(), each=st.integers(1, 9), filled=st.sets(st.integers(0, 39)))
@_ON_A_SERVER
def test_every_row_without_a_tenant_is_in_exactly_one_range_of_a_sweep(
    made: Keyed, each: int, filled: set[int], server: psycopg.Connection
) -> None:
    spec = _table(server, made, "pages", 1)
    places = _all_of(server)
    server.execute(
        "UPDATE paged SET tenant_id = 'x' WHERE ctid = ANY (%s::tid[])",
        [[place for n, place in enumerate(places) if n in filled]],
    )
    found = server.execute(JobSQL(spec).sweep(), {"job": 1, "each": each, "most": 100}).fetchall()
    by: By = "key" if spec.key else "page"
    swept = [Range(by=by, lower=lower, upper=upper, stripe=None) for lower, upper in found]
    without = _all_of(server, "tenant_id = ''")
    in_ranges = [row for range_ in swept for row in _rows_of(server, spec, range_)]
    assert sorted(set(in_ranges) & set(without)) == without
    assert len(in_ranges) == len(set(in_ranges))


@given(made=keyed(_KEYS))
@_ON_A_SERVER
def test_the_middle_of_a_batch_halves_what_is_left_of_it(made: Keyed, server: psycopg.Connection) -> None:
    spec = _table(server, made, "contiguous", 1)
    for visit in _visits(server, spec, 9):
        rows = len(_rows_of(server, spec, visit))
        found = server.execute(JobSQL(spec).middle(visit.shape), range_parameters(visit)).fetchone()
        if found is None:
            assert rows == 0
            continue
        total, bound, _identity = found
        lower = visit.model_copy(update={"upper": bound})
        assert total == rows
        assert len(_rows_of(server, spec, lower)) == (rows + 1) // 2
