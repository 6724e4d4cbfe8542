"""Connections that end in time whatever the other side does.

A timeout of sockets begins anew with each byte: a receiver that drips its answer, or says `100 Continue` for
ever, would keep what is behind its message waiting for as long as it likes.
"""

import socket
import threading
from contextlib import suppress
from typing import Any, TypeVar

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

_Pools = TypeVar("_Pools", bound=PoolManager)


class _Bounded(HTTPConnection):
    """Is cut off so many seconds after it was made, TLS and the way through a proxy among them."""

    seconds: float
    _cut: "_Cut | None" = None

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        self._cut = _Cut(self.seconds, made)
        return made

    def close(self) -> None:
        if self._cut is not None:
            self._cut.spare()
        super().close()


class _BoundedTLS(_Bounded, HTTPSConnection):
    """The same under TLS."""


class _Cut:
    """Shuts a connection down once its time is up, unless it is spared."""

    def __init__(self, seconds: float, connection: socket.socket) -> None:
        # TLS takes the socket itself over: a second one of the same connection stays ours.
        self._ours = connection.dup()
        self._timer = threading.Timer(seconds, self._shut_down)
        self._timer.daemon = True
        self._timer.start()

    def _shut_down(self) -> None:
        with suppress(OSError):  # it has just ended by itself
            self._ours.shutdown(socket.SHUT_RDWR)

    def spare(self) -> None:
        self._timer.cancel()
        self._ours.close()


def within(seconds: float, pools: _Pools) -> _Pools:
    """Have every connection of these pools end within so many seconds."""
    known: dict[str, Any] = {"seconds": seconds}

    class Plain(HTTPConnectionPool):
        ConnectionCls = type("Plain", (_Bounded,), known)

    class Secure(HTTPSConnectionPool):
        ConnectionCls = type("Secure", (_BoundedTLS,), known)

    pools.pool_classes_by_scheme = {"http": Plain, "https": Secure}
    return pools
