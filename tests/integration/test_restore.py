"""Restoring: what was backed up comes back, checked first, and over nothing that nobody said to lose."""

from pathlib import Path

import psycopg
import pytest

from control import backup as backups
from control.client_programs import environment
from control.embedded.postgres import EmbeddedPostgres
from control.older_servers import restore_by_script
from control.restore import restore
from sql.errors import AnotherRunError, BackupError, GivenWrongError
from sql.postgres.connection import connect
from sql.postgres.session import take_migration
from tests.integration.migrated import plan, read
from tests.integration.operating import Operator, nobody

ROWS = (
    "SELECT (SELECT md5(string_agg(e::text, '' ORDER BY id)) FROM graph_entities AS e), "
    "(SELECT md5(string_agg(r::text, '' ORDER BY id)) FROM graph_relations AS r)"
)


def rows(url: str) -> tuple[str, str]:
    """Every row of both tables, as checksums."""
    with psycopg.connect(url) as connection:
        found = connection.execute(ROWS).fetchone()
    assert found is not None
    return found


def backed_up(url: str, path: Path, jobs: int = 1) -> Path:
    """Take a backup of the sample."""
    with connect(url, "test") as connection:
        backups.dump(url, path, read(connection, plan()), jobs=jobs)
    return path


def schema(server: EmbeddedPostgres, url: str) -> str:
    """The schema as `pg_dump` writes it."""
    return server.run("pg_dump", "--schema-only", "--restrict-key=x", url).stdout


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_backup_comes_back_in_another_database_with_schema_and_rows(
    sample: str, database: str, postgres: EmbeddedPostgres, tmp_path: Path, jobs: int
) -> None:
    path = backed_up(sample, tmp_path / "sample.dump", jobs)
    restored = restore(path, database, jobs=jobs, notify=nobody)
    assert (restored.tables, restored.overwritten) == (2, False)
    assert rows(database) == rows(sample)
    assert schema(postgres, database) == schema(postgres, sample)
    with psycopg.connect(database) as connection:
        analyzed = connection.execute("SELECT FROM pg_class WHERE relname ~ '^graph' AND reltuples > 0")
        assert analyzed.rowcount > 2


@pytest.fixture
def without_client_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with the wheel's client programs alone, newer than many a server."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("without_client_programs")
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_newest_client_programs_restore_into_an_older_server(
    sample: str, database: str, postgres: EmbeddedPostgres, tmp_path: Path, jobs: int
) -> None:
    path = backed_up(sample, tmp_path / "sample.dump", jobs)
    restore(path, database, jobs=jobs, notify=nobody)
    assert (rows(database), schema(postgres, database)) == (rows(sample), schema(postgres, sample))
    restore(path, database, jobs=jobs, overwrite=True, notify=nobody)
    assert (rows(database), schema(postgres, database)) == (rows(sample), schema(postgres, sample))


def _by_script(postgres: EmbeddedPostgres, path: Path, into: str) -> None:
    restore_by_script(
        postgres.bin, path, f"--dbname={into}", options=[], more=environment(into), go_on=lambda: None
    )


def test_a_script_brings_every_row_even_one_that_reads_like_the_line_that_is_left_out(
    sample: str, database: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    with psycopg.connect(sample) as shop:
        shop.execute("CREATE TABLE a_note (told text)")
        shop.execute("INSERT INTO a_note SELECT 'SET transaction_timeout = 0;' FROM generate_series(1, 200)")
    path = tmp_path / "sample.dump"
    postgres.run("pg_dump", "-Fc", f"--file={path}", sample)
    _by_script(postgres, path, database)
    assert rows(database) == rows(sample)
    with psycopg.connect(database) as restored:
        assert restored.execute("SELECT count(*) FROM a_note").fetchone() == (200,)


def test_a_backup_that_breaks_off_in_its_script_leaves_nothing(
    sample: str, database: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    path = tmp_path / "sample.dump"
    postgres.run("pg_dump", "-Fc", "--compress=0", f"--file={path}", sample)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(BackupError, match="pg_restore failed"):
        _by_script(postgres, path, database)
    with psycopg.connect(database) as restored:
        assert restored.execute("SELECT to_regclass('graph_entities')").fetchone() == (None,)


def test_tables_that_are_there_are_not_overwritten_without_a_word(sample: str, tmp_path: Path) -> None:
    path = backed_up(sample, tmp_path / "sample.dump")
    with psycopg.connect(sample, autocommit=True) as shop:
        shop.execute("DELETE FROM graph_relations")
    without = rows(sample)
    with pytest.raises(
        GivenWrongError, match=r"has public graph_entities, public graph_relations already.*lost"
    ):
        restore(path, sample, notify=nobody)
    assert rows(sample) == without


def test_with_the_word_the_database_is_as_it_was_and_no_longer_migrated(
    operator: Operator, postgres: EmbeddedPostgres
) -> None:
    before, schema_before = rows(operator.url), schema(postgres, operator.url)
    path = operator.folder / "sample.dump"
    operator.plan.write_text(f'{operator.plan.read_text()}\n[backup]\npath = "{path}"\n')
    operator.done("backup")
    operator.run_to("columns")
    assert operator.tenantry("backup").returncode == 2
    assert "has begun" in operator.tenantry("backup").stderr
    refused = operator.tenantry("restore", str(path))
    assert refused.returncode == 2
    assert "--overwrite" in refused.stderr
    operator.done("restore", str(path), "--overwrite")
    assert rows(operator.url) == before
    assert schema(postgres, operator.url) == schema_before
    with psycopg.connect(operator.url) as connection:
        assert connection.execute("SELECT FROM pg_namespace WHERE nspname ~ '^tenantry'").rowcount == 0


def test_a_backup_that_is_not_what_was_written_is_not_restored(
    sample: str, database: str, tmp_path: Path
) -> None:
    path = backed_up(sample, tmp_path / "sample.dump")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BackupError, match="is not what was written"):
        restore(path, database, notify=nobody)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('graph_entities')").fetchone() == (None,)


def test_a_backup_without_its_checksum_is_refused_and_so_is_none(database: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.dump"
    with pytest.raises(GivenWrongError, match="there is no backup"):
        restore(path, database, notify=nobody)
    path.write_text("somebody's")
    with pytest.raises(GivenWrongError, match="its checksum"):
        restore(path, database, notify=nobody)


def test_a_restore_that_fails_leaves_all_as_it_was(sample: str, database: str, tmp_path: Path) -> None:
    path = backed_up(sample, tmp_path / "sample.dump")
    with psycopg.connect(database, autocommit=True) as shop:
        shop.execute("CREATE TYPE graph_relations AS ENUM ()")  # a name that the second table wants
    with pytest.raises(BackupError, match="already exists"):
        restore(path, database, notify=nobody)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('graph_entities')").fetchone() == (None,)


def test_nothing_is_restored_under_a_run_that_is_at_work(operator: Operator) -> None:
    path = backed_up(operator.url, operator.folder / "sample.dump")
    operator.run_to("columns")
    with connect(operator.url, "controller") as controller:
        assert take_migration(controller, "multi-tenancy") is None
        with pytest.raises(AnotherRunError):
            restore(path, operator.url, overwrite=True, notify=nobody)
