"""A relay between a client and a server's Unix socket: it cuts, delays and stalls as a network does."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import conninfo

_CHUNK = 65_536


@dataclass
class Relay:
    """Passes on what either side sends; new connections are taken after a cut too."""

    server: Path
    url: str
    listener: socket.socket
    delay: float = 0.0
    """Seconds for which each piece is kept, either way."""
    _through: list[socket.socket] = field(default_factory=list)
    _flowing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._flowing.set()

    def accept(self) -> None:
        """Take connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                behind = socket.socket(socket.AF_UNIX)
                behind.connect(str(self.server))
                self._through += [client, behind]
                for one, other in ((client, behind), (behind, client)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def cut(self) -> None:
        """End every connection that is open now, without a word to either side."""
        # Taken out first: a connection that comes while these are cut is a new one, and lives.
        cut, self._through = self._through, []
        for end in cut:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def half_close(self) -> None:
        """End what goes to the clients of now, and let what they send go on."""
        for client in self._through[::2]:
            with suppress(OSError):
                client.shutdown(socket.SHUT_WR)

    def stall(self) -> None:
        """Keep all that comes from now on, either way; connections stay open, and new ones are taken."""
        self._flowing.clear()

    def flow(self) -> None:
        """Pass on what was kept, and what comes."""
        self._flowing.set()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(_CHUNK):
                time.sleep(self.delay)
                self._flowing.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(url: str) -> Iterator[Relay]:
    """Relay to a server that is reached by its Unix socket."""
    parts = conninfo.conninfo_to_dict(url)
    socket_of = Path(str(parts["host"])) / f".s.PGSQL.{parts['port']}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        through = conninfo.make_conninfo(
            url, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable"
        )
        relay = Relay(socket_of, through, listener)
        threading.Thread(target=relay.accept, daemon=True).start()
        try:
            yield relay
        finally:
            relay.flow()
            relay.cut()
            # `close` alone doesn't wake a thread that accepts.
            listener.shutdown(socket.SHUT_RDWR)
