"""Whatever a file holds, its migration keeps every value, and the way back leaves it as it was."""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings

from control.plan.model import Plan
from control.sqlite import conductor
from sql.sqlite.integrity import faults
from tests.integration.sqlite import graph
from tests.integration.sqlite.contents import columns_of, contents
from tests.integration.sqlite.random_files import RandomFile, random_files

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def there_and_back(drawn: RandomFile) -> None:
    with TemporaryDirectory() as folder:
        path = drawn.made(Path(folder, "graph.db"))
        plan = Plan.model_validate(drawn.plan(path))
        before = contents(path)
        with closing(sqlite3.connect(path)) as connection:
            columns = columns_of(connection)
        with conductor.controller(plan) as file:
            graph.there(plan, file)
            assert faults(file, most=5) == []
        assert contents(path, columns).rows == before.rows
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            for table in plan.tables:
                name = table.name.replace('"', '""')
                without = f'SELECT count(*) FROM "{name}" WHERE tenant_id IS NULL'
                assert connection.execute(without).fetchall() == [(0,)], table.name
        with conductor.controller(plan) as file:
            conductor.rollback(plan, file, notify=graph.nobody)
        assert contents(path) == before


@given(random_files())
@settings(max_examples=25, suppress_health_check=_SLOW)
def test_a_few_random_files_keep_every_value_and_come_back_as_they_were(drawn: RandomFile) -> None:
    there_and_back(drawn)


@pytest.mark.full
@pytest.mark.timeout(3_600)
@given(random_files())
@settings(max_examples=1_000, suppress_health_check=_SLOW)
def test_many_random_files_keep_every_value_and_come_back_as_they_were(drawn: RandomFile) -> None:
    there_and_back(drawn)
