"""What `plan` says of a backfill before it begins: how each table is cut and why, or that it is instant."""

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from control import conductor, dry_run
from control.dry_run import Told
from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from sql.postgres.connection import connect
from tests.conftest import SAMPLE_RELATIONS
from tests.integration.backfilling import count_updates, updates_per_row

_PART = """
CREATE TABLE parted (id bigint, place text, PRIMARY KEY (id, place)) PARTITION BY LIST (place);
CREATE TABLE parted_north PARTITION OF parted FOR VALUES IN ('north');
CREATE TABLE parted_south PARTITION OF parted FOR VALUES IN ('south');
"""


def _backfill(url: str, table: dict[str, Any], **backfill: str) -> list[Told]:
    plan = Plan.model_validate(
        {"name": "told", "database": {"url": url}, "tables": [table], "backfill": backfill}
    )
    with connect(url, "plan") as connection:
        ground = conductor.survey(plan, connection, lambda _line: None)
        told = list(dry_run.statements(conductor.in_order(ground.plan), ground))
    return [one for one in told if one.stage == "backfill"]


_ENTITIES = {"name": "graph_entities", "tenant": {"expression": "properties->>'org_id'"}}


@pytest.mark.parametrize(
    ("paging", "cut"),
    [
        ("auto", r"ranges of \(id\), one after the other, because a heap of"),
        ("striped", r"ranges of \(id\), each visited \d\d times, because the plan wants it"),
        ("pages", r"ranges of its pages, each visited \d\d times, because the plan wants it"),
    ],
)
def test_a_plan_says_how_each_table_is_cut_and_why(sample: str, paging: str, cut: str) -> None:
    (told,) = _backfill(sample, _ENTITIES, paging=paging)
    assert re.match(cut, told.why)


def test_a_table_s_own_way_of_paging_wins_over_the_backfill_s(sample: str) -> None:
    (told,) = _backfill(sample, _ENTITIES | {"paging": "contiguous"}, paging="pages")
    assert told.why.startswith("ranges of (id), one after the other, because the plan wants it")


def test_a_plan_says_what_a_crash_may_undo(sample: str) -> None:
    (told,) = _backfill(sample, _ENTITIES, synchronous_commit="off")
    assert "rows and ledger together" in told.why


def test_a_constant_tenant_on_a_table_without_the_column_is_told_to_be_instant(sample: str) -> None:
    (told,) = _backfill(sample, {"name": "graph_entities", "tenant": {"constant": "default"}})
    assert told.cost.startswith("instant")


def test_a_constant_tenant_on_a_table_that_has_the_column_is_told_to_be_filled(
    sample: str, connection: psycopg.Connection
) -> None:
    connection.execute("ALTER TABLE graph_entities ADD COLUMN tenant_id text NOT NULL DEFAULT ''")
    (told,) = _backfill(sample, {"name": "graph_entities", "tenant": {"constant": "default"}})
    assert "in batches" in told.what


def test_a_partitioned_table_is_told_partition_by_partition(
    sample: str, connection: psycopg.Connection
) -> None:
    connection.execute(_PART)
    told = _backfill(sample, {"name": "parted", "tenant": {"expression": "place"}})
    assert [one.what.partition(":")[0] for one in told] == [
        'parted, "public"."parted_north"',
        'parted, "public"."parted_south"',
    ]


def test_a_partition_is_told_with_the_update_of_its_own_rows(
    sample: str, connection: psycopg.Connection
) -> None:
    connection.execute(_PART)
    told = _backfill(sample, {"name": "parted", "tenant": {"expression": "place"}})
    assert ['UPDATE "public"."parted_north" AS t' in one.statement for one in told] == [True, False]


def test_a_script_holds_triggers_off_for_the_tables_whose_triggers_a_run_holds_off(
    sample: str, connection: psycopg.Connection, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    count_updates(connection)
    held = _ENTITIES | {"user_triggers": "hold"}
    run = {"name": "graph_relations", "tenant": {"parent": "graph_entities", "on": {"source_id": "id"}}}
    plan = Plan.model_validate({"name": "told", "database": {"url": sample}, "tables": [held, run]})
    with connect(sample, "plan") as ours:
        ground = conductor.survey(plan, ours, lambda _line: None)
        stages = [conductor.IN_ORDER[name] for name in ("columns", "backfill")]
        script = tmp_path / "script.sql"
        script.write_text("\n".join(dry_run.script(stages, ground)))
    postgres.run("psql", "-f", str(script), sample)
    assert updates_per_row(connection) == [("graph_relations", SAMPLE_RELATIONS, 1, 1)]
