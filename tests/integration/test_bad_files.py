"""Files and folders that can't be read or written, or are something else: a line, and nothing is changed."""

import json
import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from control.backup import beside, checksum
from control.demo.show_file import plan_for
from control.embedded.postgres import EmbeddedPostgres
from control.plan.writing import toml
from tests.integration.sqlite.conftest import make_graph
from tests.integration.test_restore import backed_up, rows, schema
from tests.integration.typist import typed

_HELD = "tests.integration.unprivileged:held_by_permissions"
_UNMEANT = ("Traceback", "TENANTRY_DEBUG")
#: Where nothing can be written: `closed` is a folder without that right, `plain` a file, `loop` its own link.
_PLACES = (
    *("plain/x", "loop/x", "closed/x", "/dev/null/x", "no/such/x", "x" * 300, "a/" * 3_000),
    *(".", "..", "/", "closed", "x" * 240),
)


def _folder(path: Path, more: str = "") -> Path:
    path.mkdir()
    make_graph(path / "graph.db")
    (path / "migration.toml").write_text(toml(plan_for(Path("graph.db"))) + more)
    (path / "plain").touch()
    (path / "loop").symlink_to("loop")
    (path / "closed").mkdir(mode=0o500)
    return path


def _told(folder: Path, *arguments: str) -> str:
    """What a command says that fails, in a process that permission bits hold."""
    ended = typed(arguments, folder=folder, environment=os.environ, first=_HELD)
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert ended.returncode in {1, 2, 3}, (arguments, ended.returncode, ended.stderr)
    assert len(lines) == 1, (arguments, ended.stderr)
    assert not any(word in lines[0] for word in _UNMEANT), (arguments, lines)
    return lines[0]


def _content(folder: Path) -> list[tuple[object, ...]]:
    """What is in the file, but for what is ours."""
    with closing(sqlite3.connect(folder / "graph.db")) as file:
        schema = file.execute("SELECT sql FROM sqlite_schema WHERE name NOT LIKE '%tenantry%' ORDER BY name")
        return [*schema, *file.execute("SELECT * FROM entities"), *file.execute("SELECT * FROM relations")]


def test_a_file_or_folder_without_rights_is_told_of_and_left_as_it_is(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "folder")
    assert typed(("run", "--to", "columns"), folder=folder, environment=os.environ).returncode == 0
    before, file = _content(folder), folder / "graph.db"
    for mode_of_folder, mode in ((0o500, 0o600), (0o700, 0o400), (0o700, 0o000)):
        file.chmod(mode)
        folder.chmod(mode_of_folder)
        for command in ("run", "tune workers=2", "pause", "retry", "rollback --yes"):
            assert "graph.db" in _told(folder, *command.split()) or mode == 0o400
        folder.chmod(0o700)
    file.chmod(0o600)
    assert _content(folder) == before


def test_a_place_where_no_backup_can_be_written_is_named(tmp_path: Path) -> None:
    for at, place in enumerate(_PLACES):
        folder = _folder(tmp_path / str(at), f'\n[backup]\npath = "{place}"\n')
        before = _content(folder)
        assert place[:20] in _told(folder, "backup")
        assert place[:20] in _told(folder, "run")
        _told(folder, "restore", place)
        assert not list(folder.glob("**/*.unfinished"))
        assert _content(folder) == before


def test_a_place_where_no_report_can_be_written_is_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "folder")
    assert typed(("run", "--to", "columns"), folder=folder, environment=os.environ).returncode == 0
    before = sorted(folder.iterdir())
    for at, place in enumerate(_PLACES[:-1]):  # a report may have a name of 240 bytes
        assert place[:20] in _told(folder, "report", ("--html", "--bundle")[at % 2], place)
    assert sorted(folder.iterdir()) == before


def test_an_address_that_is_no_files_is_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "folder")
    text = (folder / "migration.toml").read_text()
    for place in (*_PLACES, "loop", "plain"):
        (folder / "migration.toml").write_text(text.replace("graph.db", place))
        for command in ("check", "run", "status"):
            _told(folder, command)


def test_a_dump_that_is_anything_else_is_not_restored(
    sample: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    folder = _folder(tmp_path / "folder")
    (folder / "migration.toml").write_text(
        toml(plan_for(Path("graph.db"))).replace("sqlite:///graph.db", "env:DATABASE_URL")
    )
    dump, before = backed_up(sample, folder / "a.dump"), (rows(sample), schema(postgres, sample))
    whole, record = dump.read_bytes(), beside(dump).read_bytes()
    choice = random.Random(1)

    def refused() -> None:
        for options in ((), ("--overwrite",)):
            ended = typed(
                ("restore", str(dump), *options),
                folder=folder,
                environment=os.environ | {"DATABASE_URL": sample},
                first=_HELD,
            )
            assert ended.returncode in {1, 2}, (ended.stdout, ended.stderr)
            assert ended.stderr.count("\n") == 1, ended.stderr
            assert not any(word in ended.stderr for word in _UNMEANT), ended.stderr
        assert (rows(sample), schema(postgres, sample)) == before

    def put(data: bytes, *, vouched: bool = False) -> None:
        dump.write_bytes(data)
        if vouched:  # whoever garbled it made the checksum anew
            told = json.loads(record) | {"sha256": checksum(dump, lambda: None)}
            beside(dump).write_text(json.dumps(told))

    for vouched in (False, True):
        for data in (b"", whole[:3], whole[: len(whole) // 2], b"PGDMP" + choice.randbytes(5_000)):
            put(data, vouched=vouched)
            refused()
    put(bytes(byte ^ 0xFF if at % 97 == 0 else byte for at, byte in enumerate(whole)), vouched=True)
    refused()
    put(whole)
    for told in (b"", b"{", b"[]", b'{"sha256": 7}', record[:-20], record.replace(b'"tables"', b'"stools"')):
        beside(dump).write_bytes(told)
        refused()
    beside(dump).write_bytes(record)
    dump.chmod(0)
    refused()
    dump.unlink()
    dump.mkdir()
    refused()
    dump.rmdir()
    os.mkfifo(dump)
    refused()
    dump.unlink()
    dump.symlink_to(dump)
    refused()
    beside(dump).unlink()
    beside(dump).mkdir()
    refused()
    shutil.rmtree(folder, ignore_errors=True)
