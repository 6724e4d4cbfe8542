"""A rehearsal: the plan on a copy, its timings kept, and `check` by them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from control import timings
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.proposal import propose
from control.status import STAGES
from sql.postgres.connection import connect
from tests.integration.operating import Operator


@dataclass(frozen=True)
class Rehearsed:
    """An operator whose plan has been rehearsed, and what the commands around it said."""

    operator: Operator
    copy: str
    before: list[dict[str, str]]
    after: list[dict[str, str]]
    refused: str


@pytest.fixture(scope="module")
def rehearsed(
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    sample_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rehearsed]:
    """A backup, a rehearsal on another database of the server, and `check` before and after."""
    folder = tmp_path_factory.mktemp("rehearsed")
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE earnest TEMPLATE {sample_template}")
        admin.execute("CREATE DATABASE rehearsed")
    url, copy = postgres.url("earnest"), postgres.url("rehearsed")
    with connect(url, "init") as connection:
        proposed = propose(connection, url="env:DATABASE_URL")
    operator = Operator(folder, url, postgres, valkey.url)
    operator.plan.write_text(f'{proposed}\n[backup]\npath = "sample.dump"\n')
    operator.done("backup")
    before = json.loads(operator.done("check", "--json"))
    refused = operator.tenantry("rehearse", "--into", "env:DATABASE_URL").stderr
    operator.done("rehearse", "--into", copy)
    after = json.loads(operator.done("check", "--json"))
    yield Rehearsed(operator, copy, before, after, refused)
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute("DROP DATABASE earnest WITH (FORCE)")
        admin.execute("DROP DATABASE rehearsed WITH (FORCE)")


def found(findings: list[dict[str, str]], name: str) -> dict[str, str]:
    """The finding of that name."""
    (one,) = [finding for finding in findings if finding["name"] == name]
    return one


def test_the_copy_is_migrated_to_the_end_and_the_database_itself_is_not_touched(rehearsed: Rehearsed) -> None:
    with psycopg.connect(rehearsed.copy) as connection:
        states = connection.execute("SELECT name, state FROM tenantry.stages").fetchall()
        filled = connection.execute("SELECT FROM graph_relations WHERE tenant_id <> ''").rowcount
    assert dict(states) == dict.fromkeys(STAGES, "done")
    assert filled == 4_000
    with psycopg.connect(rehearsed.operator.url) as connection:
        assert connection.execute("SELECT to_regnamespace('tenantry')").fetchone() == (None,)


def test_the_timings_of_every_stage_stand_beside_the_backup(rehearsed: Rehearsed) -> None:
    path = timings.beside(Path(rehearsed.operator.folder / "sample.dump"))
    kept = timings.Rehearsal.model_validate_json(path.read_bytes())
    assert tuple(stage.stage for stage in kept.stages) == STAGES
    assert kept.rows == {"graph_entities": 2_000, "graph_relations": 4_000}
    took = {stage.stage: stage for stage in kept.stages}
    assert took["backfill"].seconds > 0
    assert took["backfill"].wal_bytes > 0
    assert took["indexes"].disk_bytes > 0


def test_check_warns_without_a_rehearsal_and_estimates_by_one(rehearsed: Rehearsed) -> None:
    before = found(rehearsed.before, "rehearsal")
    assert before["level"] == "warn"
    assert "tenantry rehearse" in before["way_out"]
    assert found(rehearsed.before, "estimate")["fact"].endswith("(worked out)")
    assert found(rehearsed.after, "rehearsal")["level"] == "pass"
    assert found(rehearsed.after, "estimate")["fact"].endswith("(as rehearsed)")


def test_a_database_is_not_rehearsed_on_itself(rehearsed: Rehearsed) -> None:
    assert "is the plan's own database" in rehearsed.refused


def test_a_run_takes_backup_and_timings_over_into_its_ledger(rehearsed: Rehearsed) -> None:
    operator = rehearsed.operator
    operator.done("run", "--to", "backup")
    with psycopg.connect(operator.url) as connection:
        row = connection.execute("SELECT memory FROM tenantry.migrations").fetchone()
    assert row is not None
    path = operator.folder / "sample.dump"
    assert (
        row[0]["backup"]["sha256"] == json.loads((operator.folder / "sample.dump.json").read_text())["sha256"]
    )
    kept = json.loads(timings.beside(path).read_text())
    assert row[0][timings.MEMORY] == kept


def test_without_a_backup_there_is_nothing_to_rehearse_from(operator: Operator) -> None:
    ended = operator.tenantry("rehearse", "--into", "env:DATABASE_URL")
    assert ended.returncode == 2
    assert "add [backup] path" in ended.stderr
