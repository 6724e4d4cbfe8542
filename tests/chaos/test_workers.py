"""Workers that are killed, stopped, or live in another time."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.chaos.conftest import Build, Tell
from tests.chaos.house import PATIENCE, House
from tests.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

#: So many that there is one to kill while others are on their way back: each begins anew after 0.5, 1, 2 … s.
_CROWD = 8

#: A worker's clock as it is told in a file: every look at the time in Python, dramatiq's among them. What is
#: monotonic stays so, as it does where an operator sets a clock back.
_OTHER_TIME = """
import os
import time

_time, _time_ns = time.time, time.time_ns


def _off():
    with open(os.environ["CLOCK_OFF_BY"], encoding="utf-8") as told:
        seconds = float(told.read() or 0)
    if seconds:
        with open(os.environ["CLOCK_LOOKED_AT"], "a", encoding="utf-8") as looked:
            looked.write(f"{os.getpid()} {seconds}\\n")
    return seconds


time.time = lambda: _time() + _off()
time.time_ns = lambda: _time_ns() + int(_off() * 1e9)
"""


def _kill_one(there: House) -> None:
    """SIGKILL a worker, or every tenth time dramatiq's parent of it."""
    worker = there.chance.choice(until(there.workers, "a worker", within=PATIENCE))
    victim = worker
    if there.chance.random() < 0.1:
        victim = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(victim, signal.SIGKILL)


def test_workers_killed(build: Build, tell: Tell) -> None:
    with build(seconds=110) as there:
        there.work(_CROWD)
        there.run()
        there.strike(50, lambda: _kill_one(there))
        tell(there.end())


def test_worker_stopped(build: Build, tell: Tell) -> None:
    with build(seconds=105) as there:
        there.work(2)
        there.run()

        def stop_for_a_minute() -> None:
            worker = until(there.workers, "a worker", within=PATIENCE)[0]
            before = there.done()
            os.kill(worker, signal.SIGSTOP)
            try:
                time.sleep(60)  # the fault itself
                assert there.done() > before  # the other one goes on
            finally:
                os.kill(worker, signal.SIGCONT)

        there.strike(1, stop_for_a_minute, last=0.2)
        tell(there.end())


def test_clock_set_back(build: Build, tell: Tell, tmp_path: Path) -> None:
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(_OTHER_TIME)
    (off_by := tmp_path / "off-by").write_text("0")
    looked_at = tmp_path / "looked-at"
    with build() as there:
        there.work(1)
        there.work(
            1,
            PYTHONPATH=str(tmp_path / "clock"),
            CLOCK_OFF_BY=str(off_by),
            CLOCK_LOOKED_AT=str(looked_at),
        )
        there.run()
        further = iter((-60, -3_600, -86_400, -40_000_000))
        there.strike(4, lambda: off_by.write_text(str(next(further))))
        verdict = there.end()
        assert "-40000000.0" in looked_at.read_text()  # it did live in that time
        tell(verdict)
