"""A file's ledger of an earlier program is upgraded in place, and one of a later program is left alone."""

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from sql.sqlite.connection import File
from tests.integration.older import file_made_older, in_columns, statements
from tests.integration.sqlite import killing, walks
from tests.integration.sqlite.walks import NAME
from tests.integration.typist import typed
from worker import version

_COMMANDS = (
    *(("check",), ("plan",), ("run",), ("confirm", "application"), ("status",), ("pause",), ("resume",)),
    *(("cancel",), ("tune",), ("verify",), ("report",), ("rollback", "--yes"), ("quarantine",), ("retry",)),
    *(("events",), ("exporter", "--port", "1"), ("tenants", "list"), ("tenants", "enable", "org-1")),
    ("tenants", "assign", "org-1", "--where", "true", "--yes"),
)


@pytest.fixture
def half_way(tmp_path: Path) -> Path:
    """A folder with a file whose run was killed in its backfill, with a ledger of version 1."""
    folder = walks.ready("sample", tmp_path / "start")
    points = killing.points(("run", "--no-throttle", "--to", "backfill"), walks.copied(folder, "counted"))
    statements_ = [point for point in points if not point.startswith("op")]
    assert killing.killed(("run", "--no-throttle"), folder, statements_[len(statements_) * 3 // 4])
    with closing(sqlite3.connect(folder / NAME)) as file:
        (left,) = file.execute("SELECT count(*) FROM entities WHERE tenant_id IS NULL").fetchone()
        (right,) = file.execute("SELECT count(*) FROM entities WHERE tenant_id IS NOT NULL").fetchone()
    assert right, left
    file_made_older(folder / NAME)
    return folder


def _version(folder: Path) -> int | None:
    with File(folder / NAME) as file:
        return version.of(file)


def _dump(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / NAME)) as file:
        return list(file.iterdump())


def test_an_upgraded_ledger_is_as_a_fresh_one(tmp_path: Path) -> None:
    catalogs = []
    for name in ("fresh", "older"):
        with closing(sqlite3.connect(tmp_path / name)) as made:
            made.executescript(statements("sqlite") if name == "older" else "VACUUM")
        with File(tmp_path / name) as file:
            version.create(file)
            assert version.of(file) == version.VERSION
            catalogs.append(in_columns(file.raw))
    assert catalogs[0] == catalogs[1]


def test_a_migration_half_way_in_an_older_ledger_goes_on_to_its_end(half_way: Path) -> None:
    before = walks.Before(half_way)
    walks.through(walks.THERE, half_way)
    assert _version(half_way) == version.VERSION
    walks.complete(half_way)
    told = typed(("events",), folder=half_way, environment={"PATH": ""}).stdout
    assert "upgrade  the ledger, from version 1 to 2" in told
    assert before.whole.rows


def test_a_program_killed_within_an_upgrade_leaves_the_older_ledger_or_the_new(half_way: Path) -> None:
    seen: set[int | None] = set()
    for point in range(1, 40):
        folder = walks.copied(half_way, f"killed {point}")
        if not killing.killed(("run", "--to", "columns"), folder, str(point)):
            break
        seen.add(found := _version(folder))
        assert found in {1, version.VERSION}
        if found == 1:
            assert _dump(folder) == _dump(half_way)
        killing.ended(("run", "--to", "columns"), folder)
        assert _version(folder) == version.VERSION
        shutil.rmtree(folder)
    assert seen == {1, version.VERSION}


def test_two_programs_at_once_upgrade_once(half_way: Path) -> None:
    begin = threading.Barrier(2)

    def upgrade() -> None:
        with File(half_way / NAME) as file:
            begin.wait()
            version.upgrade(file)

    programs = [threading.Thread(target=upgrade) for _ in range(2)]
    for program in programs:
        program.start()
    for program in programs:
        program.join()
    with closing(sqlite3.connect(half_way / NAME)) as file:
        assert file.execute("SELECT version FROM tenantry_version").fetchall() == [(2,)]


def test_a_ledger_of_another_version_is_refused_by_who_may_not_upgrade_it(half_way: Path) -> None:
    before = _dump(half_way)
    ended = typed(("status",), folder=half_way, environment={})
    assert (ended.returncode, _dump(half_way)) == (2, before)
    assert "the ledger is of version 1, and this program's is 2: `tenantry run`" in ended.stderr
    with File(half_way / NAME) as file:
        version.upgrade(file)
        file.execute("INSERT INTO tenantry_version VALUES (3, 0, 'later')")
    before = _dump(half_way)
    for command in _COMMANDS:
        ended = typed(command, folder=half_way, environment={})
        assert ended.returncode == 2, (command, ended.stderr)
        assert "the ledger is of version 3, and this program's is 2" in ended.stderr, command
    assert _dump(half_way) == before
