"""An index like one of the plan serves in its place, and stays whose it is; leftovers are built again."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from control import steps
from control.embedded.postgres import EmbeddedPostgres
from control.indexes import Wanted
from control.plan.model import Plan
from control.preflight import tables
from control.stage import Ground
from control.stages import columns, indexes, keys
from control.verification import structure
from control.verification.check import Check, Subject
from sql.errors import CatalogError
from sql.postgres.connection import connect
from sql.postgres.verify import Tenants
from tests.integration.finished import on_record
from tests.integration.migrated import Remembered, ground
from tests.integration.test_keys_of_partitions import PLAN as PARTITIONED
from tests.integration.test_keys_of_partitions import SCHEMA as PARTITIONED_SCHEMA
from tests.integration.walking import FILL_SAMPLE, SAMPLE, Walker
from worker import audit

NOBODY = Tenants(0, 0, 0, [], 0, [])

#: Like `idx_entities_tenant` of the plan: a btree over every row, of the column in its order.
LIKE_IT = "CREATE INDEX of_the_application ON graph_entities (tenant_id)"

#: Each differs in one thing from what the plan wants, and can't stand in for it.
UNLIKE = {
    "method": "CREATE INDEX other ON graph_entities USING hash (tenant_id)",
    "columns": "CREATE INDEX other ON graph_entities (tenant_id, id)",
    "opclass": "CREATE INDEX other ON graph_entities (tenant_id text_pattern_ops)",
    "collation": 'CREATE INDEX other ON graph_entities (tenant_id COLLATE "POSIX")',
    "direction": "CREATE INDEX other ON graph_entities (tenant_id DESC)",
    "nulls": "CREATE INDEX other ON graph_entities (tenant_id NULLS FIRST)",
    "predicate": "CREATE INDEX other ON graph_entities (tenant_id) WHERE id > ''",
    "expression": "CREATE INDEX other ON graph_entities ((tenant_id || ''))",
    "include": "CREATE INDEX other ON graph_entities (tenant_id) INCLUDE (entity_type)",
}


@pytest.fixture
def walker(sample: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker on the sample, whose rows have their tenants: just before the indexes."""
    with connect(sample, "test") as connection:
        walker = Walker(connection, Plan.model_validate(SAMPLE | {"database": {"url": sample}}), postgres)
        walker.there(columns.STAGE)
        connection.execute(FILL_SAMPLE)
        yield walker


def _names(walker: Walker, table: str = "graph_entities") -> set[str]:
    return {index.name for index in walker.live().table(table).indexes}


def _verified(walker: Walker) -> Check:
    table = walker.plan.table("graph_entities")
    found, was = walker.live().table(table.name), walker.original.table(table.name)
    return structure.indexes(Subject(walker.connection, walker.plan, table, was, found, NOBODY))


def test_an_index_like_it_is_adopted_kept_on_the_way_back_and_told_in_the_audit(walker: Walker) -> None:
    walker.connection.execute(LIKE_IT)
    migration = on_record(ground(walker.connection, walker.plan, walker.original))
    before = walker.schema()
    said: list[str] = []
    standing = Ground(
        walker.plan, walker.original, walker.connection, Remembered(), notify=said.append, migration=migration
    )
    steps.take(indexes.STAGE.steps(walker.plan, walker.original), standing, "indexes")
    assert {"of_the_application"} <= _names(walker)
    assert "idx_entities_tenant" not in _names(walker)
    told = [event.message for event in audit.events(walker.connection, migration) if event.kind == "adopt"]
    assert told == [line for line in said if "of_the_application" in line]
    (line,) = told
    assert line.startswith(
        "graph_entities: index of_the_application serves as idx_entities_tenant, which is not built"
    )
    found = _verified(walker)
    assert found.ok
    assert "of_the_application as idx_entities_tenant" in found.evidence

    walker.there(keys.STAGE)
    walker.back(keys.STAGE)
    walker.back(indexes.STAGE)
    assert walker.schema() == before


def test_an_index_that_differs_in_one_thing_is_not_adopted(walker: Walker) -> None:
    wanted = Wanted(
        "graph_entities", walker.original.table("graph_entities"), "idx_entities_tenant", ("tenant_id",)
    )
    for difference, statement in UNLIKE.items():
        with walker.connection.transaction(force_rollback=True):
            walker.connection.execute(statement.encode())
            assert wanted.adopted(walker.live()) is None, difference
    walker.connection.execute(LIKE_IT)
    assert wanted.adopted(walker.live()) is not None


def test_an_index_like_the_new_key_is_not_taken_for_it(walker: Walker) -> None:
    """The key would take it away, and the way back could not give it back."""
    walker.connection.execute("CREATE UNIQUE INDEX theirs ON graph_entities (id, tenant_id)")
    before = walker.schema()
    for stage in (indexes.STAGE, keys.STAGE):
        walker.there(stage)
    assert "theirs" in _names(walker)
    for stage in (keys.STAGE, indexes.STAGE):
        walker.back(stage)
    assert walker.schema() == before


def test_preflight_tells_what_will_be_adopted(sample: str) -> None:
    with connect(sample, "test") as connection:
        connection.execute("ALTER TABLE graph_entities ADD tenant_id text NOT NULL DEFAULT ''")
        connection.execute(LIKE_IT)
        on = ground(connection, Plan.model_validate(SAMPLE))
        (found,) = (f for f in tables.look(on) if f.name == "graph_entities: names of indexes")
    assert found.level == "pass"
    assert "of_the_application serves as idx_entities_tenant" in found.fact


def test_a_partitioned_tables_index_is_adopted_whole(database: str, postgres: EmbeddedPostgres) -> None:
    with connect(database, "test") as connection:
        connection.execute(PARTITIONED_SCHEMA)
        walker = Walker(connection, Plan.model_validate(PARTITIONED), postgres)
        walker.there(columns.STAGE)
        connection.execute("UPDATE reading SET tenant_id = org; UPDATE keyless SET tenant_id = org")
        connection.execute("CREATE INDEX theirs ON reading (tenant_id)")
        before = walker.schema()
        walker.there(indexes.STAGE)
        assert "by tenant" not in _names(walker, "reading")
        assert {"theirs", "by tenant and day"} <= _names(walker, "reading")
        walker.back(indexes.STAGE)
        assert walker.schema() == before


def _left_invalid(walker: Walker, statement: str, unless: str) -> None:
    """Leave what a CREATE INDEX CONCURRENTLY leaves that is cut short: one that a lock time-out ended."""
    with psycopg.connect(walker.server.url(walker.connection.info.dbname)) as other:
        other.execute(unless.encode())
        walker.connection.execute("SET lock_timeout = '100ms'")
        with pytest.raises(errors.LockNotAvailable):
            walker.connection.execute(statement.encode())
        walker.connection.execute("RESET lock_timeout")


def test_what_a_build_of_ours_left_is_built_again_and_anothers_is_reported_and_not_touched(
    walker: Walker,
) -> None:
    written = (
        "UPDATE graph_entities SET tenant_id = tenant_id WHERE id = (SELECT min(id) FROM graph_entities)"
    )
    _left_invalid(
        walker, "CREATE INDEX CONCURRENTLY idx_entities_tenant ON graph_entities (tenant_id)", written
    )
    _left_invalid(walker, "CREATE INDEX CONCURRENTLY theirs ON graph_entities (tenant_id)", written)
    walker.there(indexes.STAGE)
    now = {index.name: index.valid for index in walker.live().table("graph_entities").indexes}
    assert now["idx_entities_tenant"], "an invalid index of another name serves nobody, and is not adopted"
    assert not now["theirs"]
    assert _verified(walker).evidence == "theirs is invalid"


def test_another_index_of_the_plans_name_stops_the_stage_and_is_not_touched(walker: Walker) -> None:
    walker.connection.execute("CREATE INDEX idx_entities_tenant ON graph_entities (tenant_id DESC)")
    with pytest.raises(CatalogError, match="another index called idx_entities_tenant"):
        walker.there(indexes.STAGE)
    assert walker.live().table("graph_entities").index("idx_entities_tenant") is not None
