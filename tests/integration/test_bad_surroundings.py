"""Arguments, environment and files that are wrong end in one line and a status, and change nothing."""

import random
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from control.cli import COMMANDS
from control.demo.show_file import plan_for
from control.plan.writing import toml
from tests.integration.sqlite.conftest import make_graph
from tests.integration.typist import typed

_PATH = {"PATH": "/usr/bin:/bin"}
#: What a line holds that nobody meant to say.
_UNMEANT = ("Traceback", "TENANTRY_DEBUG")

_ARGUMENTS = (
    *(((name, "--file"), 2) for name in COMMANDS if name not in {"demo", "init", "tenants", "sample"}),
    *(((name, "--no-such-option"), 2) for name in COMMANDS),
    *(((name, "--file", "\x1b[31m/no/such\n.toml"), 2) for name in ("run", "status", "check", "plan")),
    (("nonsense",), 2),
    (("run", "--to", "nowhere"), 2),
    (("run", "--workers", "-1"), 2),
    (("run", "--workers", "1e3"), 2),
    (("run", "--workers", "2"), 2),
    (("rollback", "--to", ""), 2),
    (("rollback",), 2),
    (("confirm",), 2),
    (("confirm", "keys"), 2),
    (("confirm", "backup", "rls"), 2),
    (("exporter", "--port", "0"), 2),
    (("exporter", "--port", "99999999999999999999"), 2),
    (("exporter", "--host", "no such host", "--port", "9"), 2),
    (("exporter", "--host", "\u202e", "--port", "9"), 2),
    (("exporter", "--host", "x" * 300, "--port", "9"), 2),
    (("worker", "--workers", "0"), 2),
    (("tune", "nonsense"), 2),
    (("tune", "rows_per_second=-1"), 2),
    (("tune", "rows_per_second=" + "9" * 5_000), 2),
    (("tune", "target=\0".replace("\0", "\x01")), 2),
    (("tenants",), 2),
    (("tenants", "assign", "acme"), 2),
    (("tenants", "assign", "acme", "--where", "';--", "--yes"), 2),
    (("status",), 2),
    (("restore", "/no/such/file"), 2),
    (("restore", "/dev/null"), 2),
    (("restore", "."), 2),
    (("rehearse", "--into", "nonsense://"), 2),
    (("notify", "--test"), 2),
    (("demo", "--rows", "-5"), 2),
)
_ENVIRONMENTS = (
    {"NO_COLOR": "", "TERM": "\x01\x02"},
    {"TERM": "no-such-terminal", "COLUMNS": "-1", "LINES": "x"},
    {"COLUMNS": "0"},
    {"COLUMNS": "9" * 30, "LINES": "9" * 30},
    {"LANG": "xx_YY.nonsense", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    {"TZ": "Nowhere/\x7f", "HOME": "/no/such/home", "USER": ""},
    {"TENANTRY_METRICS_PORT": "x", "TENANTRY_METRICS_HOST": "\x01", "TENANTRY_LOG": "?"},
    {"PGHOST": "\x01", "PGPORT": "x", "PGOPTIONS": "-c nonsense", "PGSERVICE": "none", "PGSSLMODE": "maybe"},
    {"DATABASE_URL": "", "NOTIFY_URL": "\x01"},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file and its plan."""
    make_graph(tmp_path / "graph.db")
    (tmp_path / "migration.toml").write_text(toml(plan_for(Path("graph.db"))))
    return tmp_path


def _dump(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "graph.db")) as file:
        return list(file.iterdump())


def test_wrong_arguments_are_told_in_one_line_with_status_2(folder: Path) -> None:
    before = _dump(folder)
    wrong = []
    for arguments, status in _ARGUMENTS:
        ended = typed(arguments, folder=folder, environment=_PATH)
        lines = ended.stderr.splitlines()
        if ended.returncode != status or any(word in ended.stderr for word in _UNMEANT) or len(lines) != 1:
            wrong.append((arguments, ended.returncode, ended.stderr[-400:]))
    assert not wrong, "\n".join(map(str, wrong))
    assert _dump(folder) == before


@pytest.mark.parametrize("environment", _ENVIRONMENTS, ids=range(len(_ENVIRONMENTS)))
def test_an_odd_environment_stops_nothing_that_does_not_need_it(
    folder: Path, environment: dict[str, str]
) -> None:
    for command in (("check",), ("plan",), ("run", "--to", "columns"), ("status",)):
        ended = typed(command, folder=folder, environment=_PATH | environment)
        assert ended.returncode == 0, (command, ended.stderr)
        assert not any(word in ended.stderr for word in _UNMEANT), ended.stderr
    ended = typed(("exporter", "--port", "70000"), folder=folder, environment=_PATH | environment)
    assert ended.returncode == 2, ended.stderr
    assert not any(word in ended.stderr for word in _UNMEANT), ended.stderr


def test_a_file_that_is_cut_or_garbled_is_told_of_and_left_as_it_is(folder: Path) -> None:
    path, choice = folder / "graph.db", random.Random(1)
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    assert typed(("run", "--to", "columns"), folder=folder, environment=_PATH).returncode == 0
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    begun = path.read_bytes()
    wrong = []
    for number in range(24):
        data = bytearray(begun if number % 2 else whole)
        if number % 3 == 0:
            del data[choice.randrange(len(data)) :]
        else:
            for _ in range(1 + number * 3):
                data[choice.randrange(len(data))] = choice.randrange(256)
        for left in folder.glob("graph.db*"):
            left.unlink()
        path.write_bytes(data)
        for command in ("check", "status", "run", "verify", "events", "report"):
            ended = typed((command,), folder=folder, environment=_PATH)
            # A byte of the ledger's JSON may make anything of it: one line is all that can be asked then.
            if ended.returncode not in {0, 1, 2, 3, 4} or "Traceback" in ended.stderr:
                wrong.append((number, command, ended.returncode, ended.stderr[-300:]))
    assert not wrong, "\n".join(map(str, wrong))


def test_a_schema_that_is_no_utf_8_is_named_and_left_as_it_is(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "graph.db", isolation_level=None)) as file:
        file.execute("CREATE TABLE other (id int)")
        file.execute("PRAGMA writable_schema = ON")
        file.execute("UPDATE sqlite_schema SET sql = CAST(sql || x'2d2dff' AS TEXT) WHERE name = 'other'")
    before = (folder / "graph.db").read_bytes()
    for command in ("check", "plan", "run", "verify"):
        ended = typed((command,), folder=folder, environment=_PATH)
        assert ended.returncode == 1, (command, ended.stderr)
        assert "graph.db: the statement of table other is no UTF-8" in ended.stderr
    assert (folder / "graph.db").read_bytes() == before


def test_a_copy_that_is_cut_or_garbled_is_not_restored(folder: Path) -> None:
    plan = (folder / "migration.toml").read_text()
    (folder / "migration.toml").write_text(f'{plan}\n[backup]\npath = "copy.db"\n')
    assert typed(("backup",), folder=folder, environment=_PATH).returncode == 0
    kept, before, choice = folder / "kept", _dump(folder), random.Random(1)
    kept.mkdir()
    files = sorted(folder.glob("copy.db*"))
    for file in files:
        shutil.copy(file, kept)
    for number in range(12):
        for file in files:
            shutil.copy(kept / file.name, file)
        victim = files[number % len(files)]
        data = bytearray(victim.read_bytes())
        if number % 4 < 2:
            del data[choice.randrange(len(data)) :]
        else:
            data[choice.randrange(len(data))] ^= 0xFF
        victim.write_bytes(data)
        ended = typed(("restore", "copy.db", "--overwrite"), folder=folder, environment=_PATH)
        assert ended.returncode in {1, 2}, (number, victim.name, ended.stdout, ended.stderr)
        assert not any(word in ended.stderr for word in _UNMEANT), ended.stderr
        assert _dump(folder) == before


def test_a_plan_that_is_a_folder_a_device_or_nobodys_is_told_of(folder: Path) -> None:
    (folder / "of others").write_text("x")
    (folder / "of others").chmod(0)
    (folder / "loop").symlink_to(folder / "loop")
    for file in (".", "/dev/null", "loop", "of others", "graph.db", "x" * 300):
        ended = typed(("run", "--file", file), folder=folder, environment=_PATH)
        assert ended.returncode == 2, (file, ended.stderr)
        assert not any(word in ended.stderr for word in _UNMEANT), (file, ended.stderr)
    (folder / "of others").chmod(stat.S_IRWXU)
