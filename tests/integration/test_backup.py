"""The backup: what is written can be restored, is checked, and never shows a password."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from control import backup as backups
from control.backup import beside
from control.client_programs import environment, let_run, tools
from control.demo import sample as sample_graph
from control.plan.model import Plan
from control.preflight import guide
from control.restore import restore
from control.stage import Ground
from control.stages import backup
from sql.errors import BackupError, GivenWrongError
from sql.postgres.connection import connect
from tests.integration.migrated import PLAN, ground, plan
from tests.integration.operating import nobody


def saving(url: str, path: Path, **more: Any) -> Plan:
    """The sample's plan with a backup to `path`."""
    return Plan.model_validate(PLAN | {"database": {"url": url}, "backup": {"path": str(path), **more}})


def go_on() -> None:
    """Nobody cancels."""


def kept(on: Ground) -> dict[str, Any]:
    found = on.memory.recall(backup.MEMORY)
    assert found is not None
    return found


def test_of_a_program_that_fails_its_first_error_is_told_and_not_what_follows_from_it(tmp_path: Path) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(
        "#!/bin/sh\n"
        "echo 'pg_dump: error: could not write to output file: No space left on device' >&2\n"
        "echo 'pg_dump: error: a worker process died unexpectedly' >&2\n"
        "exit 1\n"
    )
    program.chmod(0o700)
    with pytest.raises(BackupError, match="No space left on device"):
        let_run([str(program)], {}, go_on)


def test_a_backup_restores_to_the_same_rows_and_its_checksum_is_kept(
    sample: str, database: str, tmp_path: Path
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
    assert beside(path).stat().st_mode & 0o077 == 0
    restore(path, database, notify=nobody)
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


def test_a_backup_by_several_jobs_is_a_folder_whose_checksum_finds_any_change(
    sample: str, tmp_path: Path
) -> None:
    path = tmp_path / "before"
    with connect(sample, "test") as connection:
        on = ground(connection, saving(sample, path, jobs=2))
        backup.STAGE.work(on)
    assert path.stat().st_mode & 0o077 == 0
    taken = backups.read(path)
    assert taken.sha256 == kept(on)["sha256"]
    backups.check(taken, go_on)
    data = max(path.iterdir(), key=lambda file: file.stat().st_size)
    spoiled = bytearray(data.read_bytes())
    spoiled[-1] ^= 1
    data.write_bytes(spoiled)
    with pytest.raises(BackupError, match="is not what was written"):
        backups.check(taken, go_on)


def test_a_backup_that_was_taken_before_stands_for_the_stages_own(sample: str, tmp_path: Path) -> None:
    path = tmp_path / "before.dump"
    with connect(sample, "test") as connection:
        of = saving(sample, path)
        first = ground(connection, of)
        backup.STAGE.work(first)
        second = ground(connection, of)
        backup.STAGE.work(second)
        assert kept(second) == kept(first)
        path.write_bytes(path.read_bytes() + b"more")
        with pytest.raises(BackupError, match="is not what was written"):
            backup.STAGE.work(ground(connection, of))


def test_a_backup_of_another_database_is_not_taken_for_the_plans(
    sample: str, database: str, tmp_path: Path
) -> None:
    path = tmp_path / "before.dump"
    with connect(sample, "test") as connection:
        backup.STAGE.work(ground(connection, saving(sample, path)))
    with connect(database, "test") as connection:
        sample_graph.create(connection)
        on = ground(connection, saving(database, path))
        assert "another database" in guide.look_at_backup(on).fact
        with pytest.raises(GivenWrongError, match="of another database"):
            backup.STAGE.work(on)


def test_an_old_backup_is_warned_of_and_a_fresh_one_passes(sample: str, tmp_path: Path) -> None:
    path = tmp_path / "before.dump"
    with connect(sample, "test") as connection:
        of = saving(sample, path)
        backup.STAGE.work(ground(connection, of))
        assert guide.look_at_backup(ground(connection, of)).level == "pass"
        old = backups.read(path).model_copy(update={"taken_at": datetime.now(UTC) - timedelta(days=2)})
        beside(path).write_text(old.model_dump_json())
        found = guide.look_at_backup(ground(connection, of))
    assert found.level == "warn"
    assert "is old" in found.fact


def test_a_failed_dump_leaves_no_file_and_says_why(sample: str, tmp_path: Path) -> None:
    nowhere = conninfo.make_conninfo(sample, dbname="nowhere")
    with connect(sample, "test") as connection, pytest.raises(BackupError, match='"nowhere" does not exist'):
        backup.STAGE.work(ground(connection, saving(nowhere, tmp_path / "before.dump")))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_the_operators_mistake(sample: str, tmp_path: Path) -> None:
    with connect(sample, "test") as connection, pytest.raises(GivenWrongError, match="/no; make it, or"):
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
