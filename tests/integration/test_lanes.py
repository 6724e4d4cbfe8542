"""Indexes of several tables built side by side: seen, ended and cancelled together."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import conninfo
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from control import building, steering, steps
from control.cancelling import cancellable
from control.plan.model import Plan
from control.plan.sections import Database
from control.stage import Ground
from control.stages import columns, indexes
from sql.errors import AnotherRunError, CancelledError, CatalogError
from sql.postgres.connection import Connection, connect
from sql.postgres.session import join_migration, take_migration
from tests.integration.finished import on_record
from tests.integration.migrated import PLAN, fill, ground, take
from tests.waiting import until
from worker import audit

#: Two more of the relations, so that a lane has something left when the other fails.
MORE = [
    {"name": "idx_relations_tenant", "columns": ["tenant_id"]},
    {"name": "idx_relations_tenant_source", "columns": ["tenant_id", "source_id"]},
]


@pytest.fixture
def standing(sample: str) -> Iterator[Ground]:
    """A controller's ground whose columns are filled, with its migration on record."""
    entities, relations = PLAN["tables"]
    tables = [entities, relations | {"indexes": MORE}]
    plan = Plan.model_validate(PLAN | {"database": {"url": sample}, "tables": tables})
    with connect(sample, "controller") as connection:
        assert take_migration(connection, "graph") is None
        on = ground(connection, plan)
        take(columns.STAGE, on)
        fill(connection)
        yield replace(on, migration=on_record(on))


@contextmanager
def _held_up(sample: str, *tables: str) -> Iterator[psycopg.Connection]:
    """A writer whose transaction every build of the tables waits for, until it is rolled back."""
    with psycopg.connect(sample, application_name="writer") as writer:
        for table in tables:
            writer.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE".encode())
        yield writer


@contextmanager
def _building(on: Ground, writer: psycopg.Connection) -> Iterator[Callable[[], object]]:
    """The stage under way in a thread; its end, or what it raises, is asked for by the function."""
    with ThreadPoolExecutor(1) as threads:

        def build() -> None:
            with cancellable(on, "indexes"):
                steps.take(indexes.STAGE.steps(on.plan, on.original), on, "indexes")

        running = threads.submit(build)
        try:
            yield lambda: running.result(60)
        finally:
            writer.rollback()


def _built_now(look: Connection, migration: int) -> set[str]:
    return {one.table for one in building.read(look, migration)}


def _there(look: Connection) -> set[str]:
    found = look.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'").fetchall()
    return {name for (name,) in found}


def test_two_tables_are_built_at_a_time_and_both_are_seen(standing: Ground, sample: str) -> None:
    with (
        connect(sample, "status") as look,
        _held_up(sample, "graph_entities", "graph_relations") as writer,
        _building(standing, writer) as end,
    ):
        both = {"graph_entities", "graph_relations"}
        until(lambda: _built_now(look, standing.migration) == both, "a build of each table")
        writer.rollback()
        end()
        assert {"idx_entities_tenant", "idx_relations_tenant", "idx_relations_tenant_source"} <= _there(look)


def test_one_at_a_time_is_built_where_the_plan_says_so(standing: Ground, sample: str) -> None:
    plan = Plan.model_validate(
        standing.plan.model_dump(exclude_unset=True)
        | {"database": {"url": sample}, "indexes": {"tables_at_once": 1}}
    )
    sessions: set[int] = set()
    notify = sessions.add

    def told(_line: str) -> None:
        notify(
            len(
                standing.connection.execute(
                    "SELECT FROM pg_stat_activity WHERE application_name = 'tenantry controller' "
                    "AND datname = current_database()"
                ).fetchall()
            )
        )

    on = replace(standing, plan=plan, notify=told)
    steps.take(indexes.STAGE.steps(on.plan, on.original), on, "indexes")
    assert sessions == {1}


def test_a_server_without_connections_to_spare_has_its_indexes_built_one_after_the_other(
    standing: Ground, sample: str
) -> None:
    name = standing.connection.info.dbname
    said: list[str] = []
    with connect(sample, "test") as other:
        other.execute(SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(Identifier(name)))
        other.execute("CREATE ROLE modest LOGIN IN ROLE pg_read_all_stats")
        try:
            url = conninfo.make_conninfo(sample, user="modest")
            plan = standing.plan.model_copy(update={"database": Database(url=SecretStr(url))})
            on = replace(standing, plan=plan, notify=said.append)
            steps.take(indexes.STAGE.steps(on.plan, on.original), on, "indexes")
        finally:
            other.execute("DROP ROLE modest")
    assert {"idx_entities_tenant", "idx_relations_tenant"} <= _there(standing.connection)
    assert [line for line in said if line.startswith("no further session for building side by side")]


def test_the_keys_indexes_are_begun_when_the_last_of_the_plans_stands(standing: Ground) -> None:
    steps.take(indexes.STAGE.steps(standing.plan, standing.original), standing, "indexes")
    taken = [
        (event.at, event.message)
        for event in audit.events(standing.connection, standing.migration)
        if event.kind == "statement"
    ]
    order = ["key" in str(what) or "pkey" in str(what) for _, what in sorted(taken, key=lambda one: one[0])]
    assert sum(order) == 2
    assert order == sorted(order)


def test_a_lane_that_fails_lets_the_others_end_what_they_are_at_and_no_more(
    standing: Ground, sample: str
) -> None:
    standing.connection.execute("CREATE INDEX idx_entities_tenant ON graph_entities (entity_type)")
    with (
        connect(sample, "status") as look,
        _held_up(sample, "graph_relations") as writer,
        _building(standing, writer) as end,
    ):

        def failed() -> bool:
            told = [event.error for event in audit.events(look, standing.migration)]
            return any(told) and _built_now(look, standing.migration) == {"graph_relations"}

        until(failed, "the lane of the entities to fail beside the other")
        writer.rollback()
        with pytest.raises(CatalogError, match="another index called idx_entities_tenant"):
            end()
        assert "idx_relations_tenant" in _there(look)
        assert "idx_relations_tenant_source" not in _there(look)


def test_a_cancel_cuts_every_lane_short(standing: Ground, sample: str) -> None:
    with (
        connect(sample, "status") as look,
        _held_up(sample, "graph_entities", "graph_relations") as writer,
        _building(standing, writer) as end,
    ):
        until(lambda: len(_built_now(look, standing.migration)) == 2, "a build of each table")
        steering.cancel(standing.plan, look)
        with pytest.raises(CancelledError):
            end()
        assert not _built_now(look, standing.migration)


def test_a_second_run_is_refused_while_a_lane_of_one_that_is_gone_goes_on(sample: str) -> None:
    with connect(sample, "controller") as first, connect(sample, "controller") as lane:
        assert take_migration(first, "graph") is None
        join_migration(lane, "graph")
        first.close()
        with connect(sample, "controller") as second:
            holder = until(lambda: take_migration(second, "graph"), "the second run to be refused")
            assert f"server process {lane.info.backend_pid} " in str(holder)
            lane.close()
            until(lambda: take_migration(second, "graph") is None, "the second run to get it")


def test_a_lane_does_not_join_while_another_run_looks_whether_any_is_left(sample: str) -> None:
    with connect(sample, "controller") as other, connect(sample, "controller") as late:
        other.execute("SELECT pg_advisory_lock(hashtext('tenantry lane'), hashtext('graph'))")
        with pytest.raises(AnotherRunError):
            join_migration(late, "graph")
