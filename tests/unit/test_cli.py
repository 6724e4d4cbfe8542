"""What the command line says, and how it ends, when what it was given is wrong. No server is needed."""

import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from control.cli import COMMANDS, main

PLAN = """\
name = "m"
[database]
url = "{url}"
[[tables]]
name = "t"
tenant = {{ constant = "a" }}
"""

#: Nobody listens there; the password must not be seen anywhere.
NOWHERE = "postgresql://someone:hunter2@127.0.0.1:1/db"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


Tenantry = Callable[..., Ended]


@pytest.fixture
def tenantry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Tenantry]:
    """Runs a command of the program in an empty folder."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Ended:
        status = main(arguments)
        return Ended(status, *capsys.readouterr())

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def _plan(folder: Path, url: str = NOWHERE) -> None:
    (folder / "migration.toml").write_text(PLAN.format(url=url))


def _refused(ended: Ended, status: int) -> str:
    """The one line of a refusal."""
    assert ended.status == status, ended.err
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("tenantry: ")
    assert "hunter2" not in line
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, tenantry: Tenantry) -> None:
    ended = tenantry(command, "--help")
    assert (ended.status, ended.err) == (0, "")
    assert f"tenantry {command}" in ended.out


def test_the_help_lists_every_command(tenantry: Tenantry) -> None:
    listed = tenantry("--help").out
    assert [name for name in COMMANDS if f" {name} " not in listed] == []


def test_the_version_is_said(tenantry: Tenantry) -> None:
    assert tenantry("--version").out.startswith("tenantry 0.")


#: What reads no plan, or asks for something else first.
NO_PLAN = {"demo", "init", "confirm", "restore", "rehearse", "tenants", "sample"}


@pytest.mark.parametrize("command", [*(name for name in COMMANDS if name not in NO_PLAN), "tenants list"])
def test_a_missing_plan_is_one_line_and_status_2(command: str, tenantry: Tenantry) -> None:
    said = _refused(tenantry(*command.split()), 2)
    assert said == "tenantry: migration.toml: no such file; `tenantry init` writes a plan"


def test_an_unknown_key_is_one_line_with_its_place_and_status_2(tenantry: Tenantry, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(PLAN.format(url=NOWHERE).replace("tenant =", "tennant ="))
    said = _refused(tenantry("run", "-f", "other.toml"), 2)
    assert "other.toml:6: unknown key 'tennant' in tables[1]; did you mean 'tenant'?" in said


@pytest.mark.parametrize(
    "command", ["check", "plan", "run", "status", "pause", "verify", "rollback", "events"]
)
def test_an_unreachable_server_is_one_line_and_status_1(
    command: str, tenantry: Tenantry, tmp_path: Path
) -> None:
    _plan(tmp_path)
    said = _refused(tenantry(command), 1)
    assert "PostgreSQL db at 127.0.0.1:1" in said
    assert "refused" in said


def test_a_variable_that_is_not_set_is_named_and_status_2(tenantry: Tenantry, tmp_path: Path) -> None:
    _plan(tmp_path, "env:NOT_SET_HERE")
    assert "$NOT_SET_HERE" in _refused(tenantry("status"), 2)


def test_an_address_that_cannot_be_read_is_not_shown(tenantry: Tenantry, tmp_path: Path) -> None:
    _plan(tmp_path, "postgresql://u:hunter2@[h/d")
    assert "can't be read" in _refused(tenantry("status"), 2)


def test_an_unknown_option_is_one_line_and_status_2(tenantry: Tenantry) -> None:
    assert "--fast" in _refused(tenantry("run", "--fast"), 2)


def test_an_unknown_command_is_one_line_and_status_2(tenantry: Tenantry) -> None:
    assert "migrate" in _refused(tenantry("migrate"), 2)


def test_an_unknown_stage_is_one_line_and_status_2(tenantry: Tenantry, tmp_path: Path) -> None:
    _plan(tmp_path)
    said = _refused(tenantry("run", "--to", "backfil"), 2)
    assert said == "tenantry: no stage 'backfil'; did you mean 'backfill'?"


def test_init_takes_no_password_from_the_command_line(tenantry: Tenantry, tmp_path: Path) -> None:
    assert "password" in _refused(tenantry("init", "--database", NOWHERE), 2)
    assert list(tmp_path.iterdir()) == []


def test_init_leaves_a_plan_that_is_there_as_it_is(
    tenantry: Tenantry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plan(tmp_path)
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    assert "migration.toml is there already" in _refused(tenantry("init"), 2)
    assert (tmp_path / "migration.toml").read_text() == PLAN.format(url=NOWHERE)


def test_init_writes_nothing_when_the_server_does_not_answer(
    tenantry: Tenantry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    _refused(tenantry("init"), 1)
    assert list(tmp_path.iterdir()) == []


def test_something_unexpected_is_one_line_without_passwords_and_status_1(
    tenantry: Tenantry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.cli.status.read_plan", _surprise)
    said = _refused(tenantry("status"), 1)
    assert said == "tenantry: RuntimeError: postgresql://u:***@h (TENANTRY_DEBUG=1 shows where)"


def test_something_unexpected_shows_where_when_asked(
    tenantry: Tenantry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.cli.status.read_plan", _surprise)
    monkeypatch.setenv("TENANTRY_DEBUG", "1")
    with pytest.raises(RuntimeError):
        tenantry("status")


def _surprise(_path: Path) -> None:
    raise RuntimeError("postgresql://u:hunter2@h\nsecond line")


def test_an_interruption_is_status_130(tenantry: Tenantry, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_path: Path) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("control.cli.status.read_plan", interrupt)
    assert "interrupted" in _refused(tenantry("status"), 130)
