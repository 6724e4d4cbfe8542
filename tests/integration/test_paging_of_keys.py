"""Every row is in exactly one batch, whatever its key: tried on the server that compares the keys."""

import string
from dataclasses import dataclass, replace
from datetime import UTC
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sql.job import JobSpec, KeyColumn
from sql.postgres.batch import JobSQL, range_parameters
from sql.tenant_source import Constant
from worker import paging
from worker.ledger import Job


@dataclass(frozen=True)
class Keys:
    """A key's columns with their types, and what its rows hold."""

    columns: tuple[tuple[str, str], ...]
    rows: list[tuple[Any, ...]]


_TEXT = st.text(alphabet=string.ascii_letters + string.digits + "äß %'\"\\{}-_€", max_size=8)
_OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "uuid": st.uuids(),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False, places=4),
    "date": st.dates(),
    "timestamp with time zone": st.datetimes(timezones=st.just(UTC)),
    "bytea": st.binary(max_size=8),
    "text": _TEXT,
    'text COLLATE "C"': _TEXT,
    "boolean": st.booleans(),
}


@st.composite
def keys(draw: st.DrawFn) -> Keys:
    types = draw(st.lists(st.sampled_from(sorted(_OF_TYPE)), min_size=1, max_size=3))
    rows = draw(st.lists(st.tuples(*(_OF_TYPE[of] for of in types)), max_size=40, unique=True))
    return Keys(tuple((f"k{n} %", of) for n, of in enumerate(types)), rows)


def _table(connection: psycopg.Connection, made: Keys) -> JobSpec:
    connection.execute("DROP TABLE IF EXISTS paged")
    names = [sql.Identifier(name) for name, _ in made.columns]
    columns = [
        sql.SQL("{} {}").format(name, sql.SQL(of)) for name, (_, of) in zip(names, made.columns, strict=True)
    ]
    connection.execute(
        sql.SQL("CREATE TABLE paged ({}, tenant_id text NOT NULL DEFAULT '', PRIMARY KEY ({}))").format(
            sql.SQL(", ").join(columns), sql.SQL(", ").join(names)
        )
    )
    insert = sql.SQL("INSERT INTO paged VALUES ({}) ON CONFLICT DO NOTHING").format(
        sql.SQL(", ").join([sql.Placeholder()] * len(names))
    )
    with connection.cursor() as cursor:
        cursor.executemany(insert, made.rows)
    return JobSpec(
        schema_="public",
        table="paged",
        key=tuple(KeyColumn(name=name, type=of.partition(" COLLATE")[0]) for name, of in made.columns),
        stripes=1,
        tenant_column="tenant_id",
        sentinel="",
        source=Constant(constant="x"),
        tenant_in_unique_index=False,
    )


def _job(spec: JobSpec, last: list[str]) -> Job:
    return Job(1, "paged", "fill", "running", spec, last, None, False, 100, 0, None)


@pytest.mark.parametrize("stripes", [1, 8])
@given(made=keys(), width=st.integers(1, 9))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_in_exactly_one_batch(
    stripes: int, made: Keys, width: int, connection: psycopg.Connection
) -> None:
    connection.execute("SET DateStyle = 'ISO, YMD'")
    connection.prepare_threshold = None  # each example makes the table anew, with other types
    spec = _table(connection, made).model_copy(update={"stripes": stripes})
    last = paging.last_key(connection, spec)
    if last is None:
        assert connection.execute("SELECT count(*) FROM paged").fetchone() == (0,)
        return
    job, visits = _job(spec, last), []
    while True:
        uppers = paging.edges(connection, job, width=width)
        visits += list(paging.ranges(job.planned_to, uppers, stripes))
        if uppers[-1] == last:
            break
        job = replace(job, planned_to=uppers[-1])
    covered = 0
    for visit in visits:
        statement = JobSQL(spec).middle(lower=visit.lower is not None)
        row = connection.execute(statement, range_parameters(spec, visit)).fetchone()
        covered += row[0] if row else 0
    assert connection.execute("SELECT count(*) FROM paged").fetchone() == (covered,)
    # No more than one: a row in two batches would be counted twice, one in none would be missing, and
    # both at once can't be, for the ranges of a stripe follow each other.
    for before, after in pairwise(visits):
        assert before.stripe != after.stripe or after.lower == before.upper
