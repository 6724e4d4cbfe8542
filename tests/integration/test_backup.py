"""The backup: what is written can be restored, is checked, and never shows a password."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from control.backup import environment, tools
from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.stage import Ground
from control.stages import backup
from sql.errors import BackupError, GivenWrongError
from sql.postgres.connection import connect
from tests.integration.migrated import PLAN, ground, plan


def saving(url: str, path: Path) -> Plan:
    """The sample's plan with a backup to `path`."""
    return Plan.model_validate(PLAN | {"database": {"url": url}, "backup": {"path": str(path)}})


def kept(on: Ground) -> dict[str, Any]:
    found = on.memory.recall(backup.MEMORY)
    assert found is not None
    return found


def test_a_backup_restores_to_the_same_rows_and_its_checksum_is_kept(
    sample: str, database: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    path = tmp_path / "before.dump"
    with connect(sample, "test") as connection:
        connection.execute("CREATE SCHEMA tenantry")
        on = ground(connection, saving(sample, path))
        backup.STAGE.work(on)
        rows = "SELECT md5(string_agg(r::text, '' ORDER BY id)) FROM graph_relations AS r"
        before = connection.execute(rows).fetchone()
    assert kept(on)["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(kept(on)["tables"]) == {"graph_entities", "graph_relations"}
    assert path.stat().st_mode & 0o077 == 0
    postgres.run("pg_restore", "--exit-on-error", "--dbname", database, str(path))
    with psycopg.connect(database) as restored:
        assert restored.execute(rows).fetchone() == before
        # The ledger isn't part of it.
        assert restored.execute("SELECT to_regnamespace('tenantry')").fetchone() == (None,)


def test_without_a_path_the_stage_passes_with_a_warning_on_record(sample: str) -> None:
    with connect(sample, "test") as connection:
        on = ground(connection, plan())
        backup.STAGE.work(on)
    assert kept(on) == {"warning": "not taken: the plan has no [backup] path"}


def test_the_operators_word_stands_for_a_backup_of_his_own(sample: str, tmp_path: Path) -> None:
    with connect(sample, "test") as connection:
        on = replace(ground(connection, saving(sample, tmp_path / "x")), confirmed=frozenset({"backup"}))
        backup.STAGE.work(on)
    assert not (tmp_path / "x").exists()
    assert "vouches" in kept(on)["warning"]


def test_a_file_that_is_there_is_never_written_over(sample: str, tmp_path: Path) -> None:
    path = tmp_path / "before.dump"
    path.write_text("somebody's")
    with connect(sample, "test") as connection, pytest.raises(GivenWrongError, match="is there already"):
        backup.STAGE.work(ground(connection, saving(sample, path)))
    assert path.read_text() == "somebody's"


def test_a_failed_dump_leaves_no_file_and_says_why(sample: str, tmp_path: Path) -> None:
    nowhere = conninfo.make_conninfo(sample, dbname="nowhere")
    with connect(sample, "test") as connection, pytest.raises(BackupError, match='"nowhere" does not exist'):
        backup.STAGE.work(ground(connection, saving(nowhere, tmp_path / "before.dump")))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_the_operators_mistake(sample: str, tmp_path: Path) -> None:
    with connect(sample, "test") as connection, pytest.raises(GivenWrongError, match="can't be written"):
        backup.STAGE.work(ground(connection, saving(sample, tmp_path / "no" / "before.dump")))


def test_a_server_newer_than_every_pg_dump_is_refused_with_what_to_install() -> None:
    with pytest.raises(BackupError, match="install the client programs of PostgreSQL 99"):
        tools(990_000)


def test_the_password_goes_through_the_environment_alone() -> None:
    given = environment("postgresql://me:secret@db.example:5433/graph?sslmode=require&keepalives_idle=5")
    assert given == {
        "PGUSER": "me",
        "PGPASSWORD": "secret",
        "PGHOST": "db.example",
        "PGPORT": "5433",
        "PGDATABASE": "graph",
        "PGSSLMODE": "require",
    }
