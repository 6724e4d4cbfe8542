"""A PostgreSQL that goes down, fails over, cuts connections, has none left, or has no room."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from control.embedded.keeper import unprivileged_account
from control.embedded.postgres import EmbeddedPostgres
from tests.chaos.conftest import Build, Tell
from tests.chaos.house import House
from tests.chaos.servers import Cluster, cluster, streams
from tests.ownership import hand_over

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

_OURS_AND_THEIRS = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE application_name LIKE 'tenantry %' OR application_name = 'graph application'"
)
_OURS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tenantry %'"
_NO_ROOM = "SELECT FROM tenantry.batches WHERE sqlstate = '53100'"
#: Seconds without a free connection, and without room.
_NONE_FREE, _NO_ROOM_FOR = 6.0, 8.0


def test_server_restarted(build: Build, server: Cluster, tell: Tell) -> None:
    with build() as there:
        there.work()
        there.run()

        def shut_down_and_start() -> None:
            server.shut_down_immediately()
            server.start()

        there.strike(5, shut_down_and_start)
        tell(there.end(), servers_own=True)


@pytest.mark.parametrize("settings", [{"synchronous_standby_names": "standby"}], ids=["synchronous"])
def test_failover(build: Build, server: Cluster, graph: EmbeddedPostgres, tell: Tell) -> None:
    with cluster("standby", graph, {}, primary=server) as standby:
        streams(server, "standby")
        hosts = ",".join(quote(str(one.home), safe="") for one in (server, standby))
        either = f"@/graph?host={hosts}&port=5432,5432&target_session_attrs=read-write"
        urls = {
            "url": f"postgresql://postgres{either}",
            "application_url": f"postgresql://graph_app{either}",
        }
        with build(**urls) as there:
            there.work()
            there.run()

            def fail_over() -> None:
                server.shut_down_immediately()
                standby.promote()

            there.strike(1, fail_over)
            tell(there.end(), servers_own=True)


def test_connections_cut(build: Build, tell: Tell) -> None:
    with build(seconds=100) as there:
        there.work()
        there.run()

        def cut_one() -> None:
            (pid,) = there.chance.choice(there.ask(_OURS_AND_THEIRS))
            there.ask("SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})

        there.strike(40, cut_one)
        tell(there.end(), servers_own=True)


def test_out_of_connections(build: Build, server: Cluster, tell: Tell) -> None:
    with build() as there:
        there.work()
        there.run()
        there.strike(3, lambda: _take_every_connection(there, server), last=0.64)
        tell(there.end(), servers_own=True)


def _take_every_connection(there: House, server: Cluster) -> None:
    """Leave none, not those for superusers either; ours are ended, and can't come back."""
    there.ask("SELECT 1")
    refused = 0
    with ExitStack() as held:
        until_ = time.monotonic() + _NONE_FREE
        while time.monotonic() < until_:
            try:
                held.callback(psycopg.connect(server.url()).close)
            except psycopg.OperationalError:
                if refused == 0:
                    there.ask(_OURS)
                refused += 1
                time.sleep(0.005)
    assert refused > 1


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 48 MB, for the server's account."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-disk-", dir="/tmp"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        folder.rmdir()
        reason = f"a small file system can't be mounted: {mounted.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        (folder / "tables").mkdir()
        hand_over(folder, unprivileged_account())
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def test_disk_full(small_disk: Path, build: Build, tell: Tell) -> None:
    def move_tables_there(connection: psycopg.Connection) -> None:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}/tables'".encode())
        for table in ("graph_entities", "graph_relations"):
            connection.execute(f"ALTER TABLE {table} SET TABLESPACE small".encode())

    with build(before=move_tables_there) as there:
        there.work()
        there.run()

        met = []

        def fill_it_up() -> None:
            ballast = small_disk / "ballast"
            with ballast.open("wb", buffering=0) as filled:
                for piece in (65_536, 4_096, 1):
                    with suppress(OSError):
                        while filled.write(bytes(piece)):
                            pass
            time.sleep(_NO_ROOM_FOR)  # the fault itself
            met.extend(there.ask(_NO_ROOM))
            ballast.unlink()

        there.strike(3, fill_it_up, last=0.66)
        verdict = there.end()
        assert met  # a batch did find no room
        tell(verdict, servers_own=True)
