"""A controller that is killed while it makes, fills and switches tenants' schemas, or takes them back."""

import os
import random
from pathlib import Path

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from tests.integration.killing import walk_killed
from tests.integration.separated import SCHEMA, TENANTS, Separating, plan_for

FILE = """
name = "apart"
[database]
url = "env:DATABASE_URL"
[tenant]
isolation = "separate_schema"
[backfill]
user_triggers = "hold"
[[tables]]
name = "entity"
tenant = { expression = "org" }
[[tables]]
name = "relation"
tenant = { parent = "entity", on = { source = "id" } }
[[tables]]
name = '"Odd %s {} thing"'
tenant = { parent = "entity", on = { owner = "id" } }
"""
#: Statements of one attempt among which a point lies; a later attempt has fewer left to take.
_WITHIN, _WITHIN_BACK = 80, 40


@pytest.fixture
def killed(
    database: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey, tmp_path: Path
) -> tuple[Separating, Path]:
    """The tables, and their plan in a file."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SCHEMA)
    file = tmp_path / "migration.toml"
    file.write_text(FILE)
    return Separating(plan_for(database), database, valkey.url, postgres), file


def _there_and_back(killed: tuple[Separating, Path], there: list[int | str], back: list[int | str]) -> int:
    migration, file = killed
    before = migration.schema(), migration.rows()

    def walk(direction: str, points: list[int | str]) -> list[str]:
        return walk_killed(direction, migration.url, migration.queue, file, points, timeout=1_500)

    times = walk("there", there)
    after = {tenant: migration.rows(f"tenant_{tenant}") for tenant in ("acme", "third")}
    assert sum(len(rows["entity"]) for rows in after.values()) == 2 * 500 // len(TENANTS)
    with psycopg.connect(migration.url) as session:
        assert session.execute("SELECT state FROM tenantry.migrations").fetchall() == [("complete",)]
        left = session.execute("SELECT count(*) FROM tenantry_mirror.schemas WHERE state <> 'settled'")
        assert left.fetchall() == [(0,)]
    times += walk("back", back)
    assert (migration.schema(), migration.rows()) == before, times
    return len(times)


def test_a_controller_killed_at_a_few_points_ends_where_one_that_lives_does(
    killed: tuple[Separating, Path],
) -> None:
    choice = random.Random(os.environ.get("SEED", "1"))
    there = list[int | str](choice.sample(range(30, _WITHIN), 3))
    assert _there_and_back(killed, there, list(choice.sample(range(1, _WITHIN_BACK), 2))) >= 3


@pytest.mark.full
@pytest.mark.timeout(3_200)
def test_a_controller_killed_between_any_two_statements_ends_where_one_that_lives_does(
    killed: tuple[Separating, Path],
) -> None:
    assert _there_and_back(killed, ["each"], ["each"]) > 60
