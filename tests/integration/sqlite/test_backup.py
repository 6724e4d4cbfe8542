"""The copy of a file: whole, of one moment, taken beside writers, and never over anything."""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from control.backup import beside, read
from control.sqlite import backup, restore
from control.sqlite.steps import look
from control.stages.backup import MEMORY
from sql.errors import AnotherRunError, BackupError, FileBusyError, GivenWrongError
from sql.sqlite import copying
from sql.sqlite.connection import connect
from sql.sqlite.facts import Catalog
from sql.sqlite.session import take_migrations
from tests.integration.operating import nobody
from tests.integration.sqlite.graph_plan import application, contents, plan_of, run
from worker import ledger

WRITE = "INSERT INTO entities (id, entity_type) VALUES (?, 'written')"


def schema(path: Path) -> Catalog:
    with connect(f"sqlite:///{path}") as file:
        return look(file, plan_of(path))


def restored(path: Path, into: Path, *, overwrite: bool = False) -> None:
    restore.restore(path, f"sqlite:///{into}", overwrite=overwrite, notify=nobody)


def test_a_copy_has_all_rows_and_no_ledger_and_its_checksum_stands_beside_it(
    graph: Path, tmp_path: Path
) -> None:
    before, path = contents(graph), tmp_path / "before.db"
    run(plan_of(graph, backup={"path": str(path)}), to="backup")
    assert contents(path) == before
    assert read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(read(path).tables) == {"entities", "relations"}
    assert path.stat().st_mode & 0o077 == 0
    assert beside(path).stat().st_mode & 0o077 == 0
    assert {one.name for one in tmp_path.iterdir()} == {"graph.db", "before.db", "before.db.json"}


def test_the_stage_takes_over_the_copy_that_is_there_and_refuses_one_of_another_file(
    graph: Path, tmp_path: Path
) -> None:
    path = tmp_path / "before.db"
    backup.copy(f"sqlite:///{graph}", path, schema(graph))
    taken = path.read_bytes()
    other = tmp_path / "other.db"
    other.write_bytes(graph.read_bytes())
    plan = plan_of(graph, backup={"path": str(path)})
    assert any("is whole, and stands" in line for line in run(plan, to="backup"))
    assert path.read_bytes() == taken
    with pytest.raises(GivenWrongError, match="of another database"):
        run(plan_of(other, backup={"path": str(path)}), to="backup")


def test_without_a_path_the_stage_passes_with_a_warning_on_record(graph: Path) -> None:
    run(plan_of(graph), to="backup")
    with connect(f"sqlite:///{graph}") as file:
        memory = ledger.Memory(file, ledger.read(file, "graph").id)
        assert memory.recall(MEMORY) == {"warning": "not taken: the plan has no [backup] path"}


def test_nothing_is_written_over(graph: Path, tmp_path: Path) -> None:
    path = tmp_path / "before.db"
    for there in (path, beside(path)):
        there.write_text("precious")
        with pytest.raises(GivenWrongError, match="is there already"):
            backup.copy(f"sqlite:///{graph}", path, schema(graph))
        assert there.read_text() == "precious"
        there.unlink()


def test_what_a_killed_copy_left_is_in_nobodys_way(graph: Path, tmp_path: Path) -> None:
    for left in ("before.db.unfinished", "before.db.unfinished-wal"):
        (tmp_path / left).write_bytes(b"half of a page")
    backup.copy(f"sqlite:///{graph}", tmp_path / "before.db", schema(graph))
    assert contents(tmp_path / "before.db") == contents(graph)
    assert {one.name for one in tmp_path.iterdir()} == {"graph.db", "before.db", "before.db.json"}


@contextmanager
def written_between_steps(graph: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> Iterator[list[int]]:
    """Small steps, and an application that writes after each of the first so many."""
    monkeypatch.setattr(copying, "PAGES", 4)
    written: list[int] = []
    course = copying._Course.__call__
    with application(graph) as connection:

        def step(self: copying._Course, status: int, left: int, pages: int) -> None:
            course(self, status, left, pages)
            if len(written) < times:
                connection.execute(WRITE, [f"new-{len(written):05}"])
                written.append(left)

        monkeypatch.setattr(copying._Course, "__call__", step)
        yield written


def test_beside_a_writer_the_copy_is_of_one_moment_and_each_write_goes_through(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, path = contents(graph), tmp_path / "before.db"
    with written_between_steps(graph, monkeypatch, times=10_000) as written:
        backup.copy(f"sqlite:///{graph}", path, schema(graph))
    # It began once: what was left went down from step to step.
    assert len(written) > 3
    assert written == sorted(written, reverse=True)
    assert contents(path) == before


def test_outside_wal_mode_the_copy_begins_again_after_a_write_and_has_it(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with application(graph) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    with written_between_steps(graph, monkeypatch, times=3):
        backup.copy(f"sqlite:///{graph}", tmp_path / "before.db", schema(graph))
    assert contents(tmp_path / "before.db") == contents(graph)


def test_outside_wal_mode_a_copy_that_is_always_disturbed_gives_up_and_leaves_nothing(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with application(graph) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    with (
        written_between_steps(graph, monkeypatch, times=10_000) as written,
        pytest.raises(BackupError, match="WAL mode"),
    ):
        backup.copy(f"sqlite:///{graph}", tmp_path / "before.db", schema(graph))
    assert len(written) < 50
    assert {one.name for one in tmp_path.iterdir()} == {"graph.db"}


def test_what_go_on_raises_ends_the_copy_and_leaves_nothing(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_LOOK_EVERY", 0)

    def cancelled() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup.copy(f"sqlite:///{graph}", tmp_path / "before.db", schema(graph), go_on=cancelled)
    assert {one.name for one in tmp_path.iterdir()} == {"graph.db"}


def test_the_look_whether_a_file_is_whole_can_be_broken_off(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_LOOK_EVERY", 0)
    monkeypatch.setattr(copying, "_INSTRUCTIONS", 100)

    def cancelled() -> None:
        raise KeyboardInterrupt

    with connect(f"sqlite:///{graph}") as file:
        with pytest.raises(KeyboardInterrupt):
            copying.faults(file, cancelled)
        assert copying.faults(file) == []


def test_a_disk_without_room_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="are free there; make room, or elsewhere"):
        backup.room_for(2**62, tmp_path / "before.db", "elsewhere")


def test_a_file_that_is_not_whole_gives_no_backup(graph: Path, tmp_path: Path) -> None:
    with application(graph) as connection:
        # An index that says other than its table.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'entity_type)', 'created_at)') "
            "WHERE name = 'idx_entities_type'"
        )
    with pytest.raises(BackupError, match="not whole"):
        backup.copy(f"sqlite:///{graph}", tmp_path / "before.db", schema(graph))
    assert not (tmp_path / "before.db").exists()


@pytest.fixture
def saved(graph: Path, tmp_path: Path) -> Path:
    path = tmp_path / "before.db"
    backup.copy(f"sqlite:///{graph}", path, schema(graph))
    return path


def test_restored_elsewhere_it_is_what_the_file_was(graph: Path, saved: Path, tmp_path: Path) -> None:
    restored(saved, tmp_path / "copy.db")
    assert contents(tmp_path / "copy.db") == contents(graph)


def test_a_process_that_has_the_file_open_sees_what_was_restored_and_writes_to_it(
    graph: Path, saved: Path
) -> None:
    with application(graph) as connection:
        connection.execute("DELETE FROM entities WHERE entity_type = 'person'")
        run(plan_of(graph), to="columns")
        restored(saved, graph, overwrite=True)
        assert connection.execute("SELECT count(*) FROM entities").fetchone() == (200,)
        connection.execute(WRITE, ["after"])
    with application(graph) as connection:
        assert connection.execute("SELECT count(*) FROM entities").fetchone() == (201,)
        ours = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'tenantry%'"
        assert connection.execute(ours).fetchone() == (0,)


def test_tables_that_are_there_are_replaced_only_when_that_is_said(graph: Path, saved: Path) -> None:
    before = contents(graph)
    with pytest.raises(GivenWrongError, match="has entities, relations already"):
        restored(saved, graph)
    assert contents(graph) == before


def test_a_copy_that_was_changed_is_not_restored(graph: Path, saved: Path) -> None:
    with application(saved) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("DELETE FROM relations")
    before = contents(graph)
    with pytest.raises(BackupError, match="is not what was written"):
        restored(saved, graph, overwrite=True)
    assert contents(graph) == before


def test_while_a_run_is_at_work_nothing_is_restored(graph: Path, saved: Path) -> None:
    before = contents(graph)
    with take_migrations(graph), pytest.raises(AnotherRunError):
        restored(saved, graph, overwrite=True)
    assert contents(graph) == before


def test_a_restore_that_is_broken_off_leaves_the_file_as_it_was(
    graph: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with application(graph) as connection:
        connection.execute(WRITE, ["after"])
    before = contents(graph)
    monkeypatch.setattr(copying, "PAGES", 2)
    asked: list[None] = []

    def on_the_third_step(*_given: object) -> None:
        asked.append(None)
        if len(asked) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(copying._Course, "__call__", on_the_third_step)
    with pytest.raises(KeyboardInterrupt):
        restored(saved, graph, overwrite=True)
    assert contents(graph) == before
    with connect(f"sqlite:///{graph}") as file:
        assert copying.faults(file) == []


def test_a_writer_that_never_ends_keeps_a_restore_out_for_a_while_only(
    graph: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_PATIENCE", 0.2)
    with application(graph) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(FileBusyError):
            restored(saved, graph, overwrite=True)


def test_pages_of_another_size_are_taken_where_nobody_has_the_file_open(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE there (x)")
        connection.commit()
        with pytest.raises(BackupError, match="stop the application"):
            restored(saved, path, overwrite=True)
    restored(saved, path, overwrite=True)
    assert contents(path) == contents(saved)


def test_what_is_no_copy_of_a_file_is_refused(graph: Path, saved: Path) -> None:
    saved.write_text("PGDMP")
    with pytest.raises(GivenWrongError, match="no copy of a SQLite file"):
        restored(saved, graph, overwrite=True)


def test_others_read_while_the_file_is_restored(
    graph: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGES", 2)
    seen: list[int] = []
    course = copying._Course.__call__

    def step(self: copying._Course, status: int, left: int, pages: int) -> None:
        course(self, status, left, pages)
        with application(graph) as connection:
            seen.append(connection.execute("SELECT count(*) FROM entities").fetchone()[0])

    monkeypatch.setattr(copying._Course, "__call__", step)
    thread = threading.Thread(target=restored, args=(saved, graph), kwargs={"overwrite": True})
    thread.start()
    thread.join()
    assert len(seen) > 3
    assert set(seen) == {200}
