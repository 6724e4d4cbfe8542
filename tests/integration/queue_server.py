"""A queue server of a test's own, which it may kill."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import redis

from control.embedded.valkey import _program
from tests.waiting import until


def address_of(socket: Path) -> str:
    """What a plan calls it by."""
    return f"unix://{quote(str(socket))}"


@contextmanager
def queue_server(socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Valkey at an address of our own, where another can take its place."""
    arguments = [str(_program()), "--port", "0", "--unixsocket", str(socket), "--save", ""]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, cwd=socket.parent)
    try:
        until(lambda: _answers(socket), "a queue server")
        yield process
    finally:
        process.kill()
        process.wait()


def _answers(socket: Path) -> bool:
    with redis.Redis.from_url(address_of(socket)) as probe:
        try:
            return bool(probe.ping())
        except redis.ConnectionError:
            return False
