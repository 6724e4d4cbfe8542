"""A relay between a client and a server's Unix socket, to cut connections as a network does."""

import socket
import threading
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
    _through: list[socket.socket] = field(default_factory=list)

    def accept(self) -> None:
        """Take connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                behind = socket.socket(socket.AF_UNIX)
                behind.connect(str(self.server))
                self._through += [client, behind]
                for one, other in ((client, behind), (behind, client)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()

    def cut(self) -> None:
        """End every connection that is open now, without a word to either side."""
        # Taken out first: a connection that comes while these are cut is a new one, and lives.
        cut, self._through = self._through, []
        for end in cut:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(_CHUNK):
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
            relay.cut()
            # `close` alone doesn't wake a thread that accepts.
            listener.shutdown(socket.SHUT_RDWR)
