"""PostgreSQL and Valkey at addresses of their own: killed, they come back where they were."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis

from control.embedded import valkey
from control.embedded.keeper import Keeper, unprivileged_account
from control.embedded.postgres import EmbeddedPostgres
from tests.integration.standby import programs
from tests.ownership import hand_over
from tests.waiting import until

_SETTINGS = {
    "fsync": "off",  # a crash of the machine is not among the faults
    "shared_buffers": "64MB",
    "max_connections": "60",
    "listen_addresses": "",
    "hot_standby": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@contextmanager
def _home(name: str) -> Iterator[Path]:
    # Servers have an account of their own, and it can't enter pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Cluster:
    """A PostgreSQL whose data outlive it; its socket is in `home`."""

    software: EmbeddedPostgres
    home: Path
    settings: Mapping[str, str]
    _keeper: Keeper | None = field(default=None)

    @property
    def data(self) -> Path:
        """Where it keeps all."""
        return self.home / "data"

    def url(self, user: str = "postgres", *, database: str = "graph") -> str:
        """The address over its socket."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.home), safe='')}&port=5432"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        account = unprivileged_account()
        self._keeper = keeper = Keeper("PostgreSQL", stop="INT", force="QUIT", account=account)
        settings = _SETTINGS | {"unix_socket_directories": str(self.home), "port": "5432", **self.settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        program = str(programs(self.software) / "postgres")
        keeper.serve(["true"], [program, "-D", str(self.data), *options])
        keeper.wait_until_answered(self._refusal)

    def _refusal(self) -> str | None:
        try:
            psycopg.connect(self.url(database="postgres"), connect_timeout=2).close()
        except psycopg.OperationalError as error:
            return str(error)
        return None

    def shut_down_immediately(self) -> None:
        """End it as `pg_ctl stop -m immediate` does: nothing is written down, recovery comes at its start."""
        os.kill(int((self.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)
        self.close()

    def promote(self) -> None:
        """Make a standby the primary."""
        with psycopg.connect(self.url(database="postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def close(self) -> None:
        """Stop it, if it runs."""
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None


@contextmanager
def cluster(
    name: str, source: EmbeddedPostgres, settings: Mapping[str, str], *, primary: Cluster | None = None
) -> Iterator[Cluster]:
    """A copy of a server that runs, or a standby of `primary` that streams from it."""
    with _home(name) as home:
        made = Cluster(source, home, settings)
        following: list[str] = []
        if primary is not None:
            following = ["-d", f"{primary.url(database='postgres')}&application_name={name}", "-R"]
        source.run(
            "pg_basebackup",
            *("-D", str(made.data), "--checkpoint=fast", "--wal-method=stream", "--no-sync", *following),
        )
        hand_over(home, unprivileged_account())
        try:
            made.start()
            yield made
        finally:
            made.close()


@dataclass
class Queue:
    """A Valkey that keeps nothing; its socket is in `home`."""

    home: Path
    _keeper: Keeper | None = field(default=None)

    @property
    def url(self) -> str:
        """The address over its socket."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def _socket(self) -> Path:
        return self.home / "valkey.sock"

    def start(self) -> None:
        """Start it, empty."""
        self._keeper = keeper = Keeper("Valkey", stop="KILL", force="KILL")
        options = ("--port", "0", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
        served = [str(valkey._program()), *options, "--unixsocket", str(self._socket)]
        keeper.serve(["true"], served)
        keeper.wait_until_answered(lambda: valkey._refusal(self.url))

    def kill(self) -> None:
        """End it at once."""
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None

    def flush(self) -> None:
        """Make it forget everything."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def is_gone(self) -> bool:
        """Whether nobody answers."""
        return valkey._refusal(self.url) is not None


@contextmanager
def queue_server() -> Iterator[Queue]:
    """A queue server of a test's own."""
    with _home("queue") as home:
        made = Queue(home)
        try:
            made.start()
            yield made
        finally:
            made.kill()


def streams(primary: Cluster, name: str) -> None:
    """Wait until a standby of that name streams."""
    asked = "SELECT FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"
    with psycopg.connect(primary.url(), autocommit=True) as connection:
        until(lambda: connection.execute(asked, [name]).rowcount == 1, f"{name} to stream")
