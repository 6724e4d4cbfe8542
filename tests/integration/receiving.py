"""A receiver of webhooks on this machine: what it gets, and what it answers."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Got:
    """A request, with its path and headers in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        """What its JSON says."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def what(self) -> str:
        """Its kind, with the stage where it has one."""
        told = self.told
        return " ".join(part for part in (told["kind"], told["stage"]) if part)

    @property
    def id(self) -> str:
        """What tells it from others."""
        return self.headers["webhook-id"]


Answer = Callable[[Got], int]


def fine(_got: Got) -> int:
    """Take everything."""
    return 204


@dataclass
class Receiver:
    """What came so far, refused or not."""

    port: int
    answer: Answer = fine
    more: dict[str, str] = field(default_factory=dict)
    """Headers of every answer."""
    got: list[Got] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is; the path is a secret."""
        return f"http://127.0.0.1:{self.port}/hook/PATH-SECRET"

    @property
    def what(self) -> list[str]:
        """What came, in order."""
        return [one.what for one in self.got]


@contextmanager
def receiving(answer: Answer = fine, *, port: int = 0) -> Iterator[Receiver]:
    """A receiver for as long as the context lasts; on a port of its own unless one is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            got = Got(self.path, headers, body)
            receiver.got.append(got)
            status = receiver.answer(got)
            try:
                self.send_response(status)
                for name, value in receiver.more.items():
                    self.send_header(name, value)
                self.end_headers()
            except OSError:
                return  # who sent it has given up

        def log_message(self, *_arguments: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True
        block_on_close = False

    with Server(("127.0.0.1", port), Handler) as server:
        receiver = Receiver(server.server_port, answer)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
