"""A network between workers and server that delays, stalls, half-closes and cuts."""

import time
from itertools import cycle

import pytest

from tests.chaos.conftest import Build, Tell
from tests.chaos.servers import Cluster
from tests.integration.relay import Relay, relayed

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def _delay(relay: Relay) -> None:
    relay.delay = 0.2
    time.sleep(3)  # the fault itself
    relay.delay = 0.0


def _stall(relay: Relay) -> None:
    relay.stall()
    time.sleep(5)  # the fault itself
    relay.flow()


def test_network(build: Build, server: Cluster, tell: Tell) -> None:
    with relayed(server.url()) as relay, build(seconds=75) as there:
        there.work(DATABASE_URL=relay.url)
        there.run()
        faults = cycle((_delay, _stall, Relay.half_close, Relay.cut))
        there.strike(12, lambda: next(faults)(relay), last=0.66)
        tell(there.end())
