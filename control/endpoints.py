"""Who answers over HTTP: `/metrics` to Prometheus, `/healthz` and `/readyz` to whoever keeps services up."""

import errno
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    Application = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]

#: Why a service can't do its work now, in words for a log; None while it can.
Unready = Callable[[], str | None]

#: Seconds after which a client that says nothing is left alone.
_PATIENCE = 10


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what is our own fault: a client that goes, or says nothing, is no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, *_: Any) -> None:
        """Say nothing: a scrape every few seconds is no news."""


@contextmanager
def answering(host: str, port: int, registry: CollectorRegistry, unready: Unready) -> Iterator[None]:
    """Answer from a thread of its own for as long as the context lasts.

    `/healthz` says that the process answers, `/readyz` whether it can do its work: 503 and why if not.

    Raises:
        OSError: the port is taken, or the host is not this machine's.
    """
    application = _application(registry, unready)

    class Server(_Server):
        address_family = _family(host, port)

    with make_server(host, port, application, server_class=Server, handler_class=_Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="endpoints", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _application(registry: CollectorRegistry, unready: Unready) -> "Application":
    metrics: Application = make_wsgi_app(registry)

    def answer(environment: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        match environment["PATH_INFO"]:
            case "/metrics":
                return metrics(environment, start)
            case "/healthz":
                return _say(start, "200 OK", "ok")
            case "/readyz":
                why = unready()
                return _say(start, "200 OK", "ready") if why is None else _say(start, "503 Not Ready", why)
            case _:
                return _say(start, "404 Not Found", "/metrics, /healthz, /readyz")

    return answer


def _say(start: "StartResponse", status: str, text: str) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]


def _family(host: str, port: int) -> socket.AddressFamily:
    """Whether the address is one of IPv4 or of IPv6."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except UnicodeError:  # Python's, of letters that no name has
        raise OSError(errno.EINVAL, "no host can have that name") from None
