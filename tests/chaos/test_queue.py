"""A queue server that forgets, restarts, or is gone for a while."""

import time

import pytest

from tests.chaos.conftest import Build, Tell

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def test_queue_flushed(build: Build, tell: Tell) -> None:
    with build() as there:
        there.work()
        there.run()
        there.strike(10, there.queue.flush)
        tell(there.end())


def test_queue_restarted(build: Build, tell: Tell) -> None:
    with build() as there:
        there.work()
        there.run()

        def restart() -> None:
            there.queue.kill()
            there.queue.start()

        there.strike(5, restart)
        tell(there.end())


def test_queue_gone(build: Build, tell: Tell) -> None:
    with build() as there:
        there.work()
        there.run()

        def be_gone_for_half_a_minute() -> None:
            there.queue.kill()
            time.sleep(30)  # the fault itself
            assert there.queue.is_gone()
            there.queue.start()

        there.strike(1, be_gone_for_half_a_minute)
        tell(there.end())
