"""What the commands say of a migration to a schema for each tenant."""

import json
import os
from pathlib import Path

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.status import SEPARATE_STAGES
from tests.integration.separated import SCHEMA, Separating, plan_for
from tests.integration.test_separate_schema_killed import FILE
from tests.integration.typist import typed

SPOILT = """
CREATE TABLE outside (entity text REFERENCES entity);
ALTER TABLE relation DROP CONSTRAINT relation_pkey;
ALTER TABLE relation ADD PRIMARY KEY (id) DEFERRABLE;
ALTER TABLE "Odd %s {} thing" DROP CONSTRAINT "thing's key" CASCADE;
CREATE TABLE entity_shared ();
ALTER TABLE entity ENABLE ROW LEVEL SECURITY;
"""


@pytest.fixture
def migration(
    database: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey, tmp_path: Path
) -> Separating:
    """The tables, and a plan in the folder."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SCHEMA)
    (tmp_path / "migration.toml").write_text(FILE)
    return Separating(plan_for(database), database, valkey.url, postgres)


def _typed(migration: Separating, folder: Path, *arguments: str) -> tuple[int, str]:
    ended = typed(arguments, folder=folder, environment=os.environ | {"DATABASE_URL": migration.url})
    return ended.returncode, ended.stdout + ended.stderr


def test_what_schemas_cant_take_over_stops_with_its_way_out(migration: Separating, tmp_path: Path) -> None:
    with psycopg.connect(migration.url, autocommit=True) as connection:
        connection.execute(SPOILT)
    status, said = _typed(migration, tmp_path, "check", "--json")
    assert status == 3
    found = {one["name"]: one for one in json.loads(said[: said.rindex("]") + 1])}
    for name, fact in {
        "schemas: keys": 'that of relation is deferrable; "Odd %s {} thing" has none',
        "schemas: foreign keys from outside the plan": "outside_entity_fkey of public.outside onto entity",
        "schemas: row-level security": "entity",
        "schemas: names": "public.entity_shared",
    }.items():
        assert (found[name]["level"], found[name]["fact"]) == ("stop", fact)
        assert found[name]["way_out"]


def test_every_command_that_shows_goes_by_the_stages_of_schemas(
    migration: Separating, tmp_path: Path
) -> None:
    status, said = _typed(migration, tmp_path, "check")
    assert status == 0, said
    status, said = _typed(migration, tmp_path, "plan")
    assert status == 0, said
    assert said.count("CREATE SCHEMA") == 2, "the guard's, and one that stands for all tenants'"
    assert "the shared tables out of the way" in said
    assert _typed(migration, tmp_path, "plan", "--sql")[0] == 2
    migration.to("schemas")
    migration.to("verify")
    status, said = _typed(migration, tmp_path, "status", "--json")
    assert [one["name"] for one in json.loads(said)["stages"]] == list(SEPARATE_STAGES)
    assert {one["state"] for one in json.loads(said)["stages"]} == {"done"}
    for command in (["status"], ["verify"], ["plan"], ["check"], ["tenants", "list"]):
        status, said = _typed(migration, tmp_path, *command)
        assert status == 0, (command, said)
    assert "no stage 'keys'" in _typed(migration, tmp_path, "run", "--to", "keys")[1]
    assert _typed(migration, tmp_path, "rollback", "--keep-columns", "--yes")[0] == 2
    assert _typed(migration, tmp_path, "rollback", "--yes")[0] == 0
