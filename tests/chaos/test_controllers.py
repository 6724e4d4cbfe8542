"""Controllers that are killed, and two at once."""

import pytest

from tests.chaos.conftest import Build, Tell
from tests.chaos.house import PATIENCE
from tests.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

_HOLDER = (
    "SELECT l.pid FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND a.application_name = 'tenantry controller'"
)


def test_controller_killed(build: Build, tell: Tell) -> None:
    # Two seconds for each to come back, four on a busy machine: at 80 s the last was killed at 95 % there.
    with build(seconds=150) as there:
        there.work()
        run = there.run()
        killed: set[int] = set()

        def kill_the_next() -> None:
            until(
                lambda: run.pid not in killed and there.controllers(), "a controller at work", within=PATIENCE
            )
            killed.add(run.pid)
            run.kill()

        there.strike(20, kill_the_next)
        tell(there.end())


def test_two_controllers(build: Build, tell: Tell) -> None:
    with build() as there:
        there.work()
        there.run()
        there.run()

        def take_it_from_who_has_it() -> None:
            holders = until(
                lambda: there.ask(_HOLDER), "a controller that has the migration", within=PATIENCE
            )
            assert len({pid for (pid,) in holders}) == 1
            there.ask("SELECT pg_terminate_backend(%(pid)s)", {"pid": holders[0][0]})

        there.strike(10, take_it_from_who_has_it)
        tell(there.end())
