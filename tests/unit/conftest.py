"""A Redis that is a fake."""

from collections.abc import Iterator

import fakeredis
import pytest

from worker.governor.shared import Shared


@pytest.fixture
def shared() -> Iterator[Shared]:
    """What workers share, on a Redis of this test's own."""
    with fakeredis.FakeRedis() as client:
        yield Shared(client, "test")
