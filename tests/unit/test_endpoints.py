"""Who answers over HTTP says nothing of clients that go without a word."""

import socket
import struct
import threading

import pytest
from prometheus_client import CollectorRegistry

from control.endpoints import answering
from tests.integration.addresses import free_port
from tests.waiting import until


def test_a_client_that_breaks_off_is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with answering("127.0.0.1", port, CollectorRegistry(), lambda: None):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\n")
            until(_is_served, "the client to be served")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: not _is_served(), "its end to be seen")
    assert capfd.readouterr().err == ""


def _is_served() -> bool:
    return any("process_request_thread" in thread.name for thread in threading.enumerate())
