"""A real standby of the embedded server, by pg_basebackup: to be paused, killed, and brought back."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg

from control.embedded.keeper import Keeper, unprivileged_account
from control.embedded.postgres import EmbeddedPostgres
from tests.ownership import hand_over
from tests.waiting import until

#: Its checkpoints and its memory are small; a crash of the machine may cost its data.
_SETTINGS = {"fsync": "off", "shared_buffers": "32MB", "listen_addresses": "", "hot_standby": "on"}


@dataclass
class Standby:
    """A streaming standby; `name` is its application_name, and its slot's name where it has one."""

    primary: EmbeddedPostgres
    name: str
    data: Path
    slot: bool
    _keeper: Keeper | None = field(default=None)

    @property
    def url(self) -> str:
        """The address over its Unix socket, read-only."""
        assert self._keeper is not None
        return f"postgresql://postgres@/postgres?host={quote(str(self._keeper.folder), safe='')}&port=5432"

    def start(self) -> None:
        """Start it, and wait until it streams."""
        before = self.streaming()
        program = str(programs(self.primary) / "postgres")
        self._keeper = keeper = Keeper("a standby", stop="INT", force="QUIT", account=unprivileged_account())
        settings = _SETTINGS | {
            "unix_socket_directories": str(keeper.folder),
            "primary_conninfo": f"host={self.primary.folder} port={self.primary.port} user=postgres "
            f"application_name={self.name}",
            "primary_slot_name": self.name if self.slot else "",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        keeper.serve(["true"], [program, "-D", str(self.data), *options])
        keeper.wait_until_answered(self._refusal)
        until(lambda: self.streaming() > before, f"{self.name} to stream")

    def _refusal(self) -> str | None:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            return str(error)
        return None

    def streaming(self) -> int:
        """How many standbys of its name the primary has."""
        with psycopg.connect(self.primary.url()) as primary:
            return primary.execute(
                "SELECT FROM pg_stat_replication WHERE application_name = %s AND replay_lsn IS NOT NULL",
                [self.name],
            ).rowcount

    def pause(self) -> None:
        """Let it receive and not replay."""
        self._tell("SELECT pg_wal_replay_pause()")
        until(lambda: self._tell("SELECT pg_get_wal_replay_pause_state()") == "paused", "replay to pause")

    def resume(self) -> None:
        """Let it replay again."""
        self._tell("SELECT pg_wal_replay_resume()")

    def _tell(self, statement: str) -> str:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement.encode()).fetchone()
        return str(row[0]) if row else ""

    def kill(self) -> None:
        """End it at once, as a machine that fails; `start` brings it back."""
        assert self._keeper is not None
        before = self.streaming()
        postmaster = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGQUIT)
        self._keeper.stop()
        self._keeper = None
        until(lambda: self.streaming() < before, f"{self.name} to be gone")

    def close(self) -> None:
        """Stop it, if it runs."""
        if self._keeper is not None:
            self._keeper.stop()


def programs(primary: EmbeddedPostgres) -> Path:
    """The folder of the wheel's server program, or of the copy that root's primary runs from."""
    (*copies,) = primary.folder.glob("software/*/*/bin")
    return copies[0] if copies else primary.bin


@contextmanager
def standby(primary: EmbeddedPostgres, name: str, *, slot: bool = False) -> Iterator[Standby]:
    """A streaming standby of `primary` for as long as the context lasts; with a slot of its name, or none."""
    # The account must get through to it, and pytest's folders are closed to others.
    home = Path(tempfile.mkdtemp(prefix="standby-", dir="/tmp"))
    made = Standby(primary, name, home / "data", slot)
    try:
        primary.run(
            "pg_basebackup",
            *("-D", str(made.data), "--checkpoint=fast", "--wal-method=stream", "--no-sync"),
            *(("--create-slot", "--slot", name) if slot else ()),
        )
        (made.data / "standby.signal").touch()
        hand_over(home, unprivileged_account())
        made.start()
        yield made
    finally:
        made.close()
        if slot:
            with psycopg.connect(primary.url(), autocommit=True) as operator:
                until(
                    lambda: (
                        operator.execute(
                            "SELECT FROM pg_replication_slots WHERE active AND slot_name = %s", [name]
                        ).rowcount
                        == 0
                    ),
                    "the slot to be free",
                )
                operator.execute("SELECT pg_drop_replication_slot(%s)", [name])
        shutil.rmtree(home, ignore_errors=True)
