"""Starts worker processes, as many as are wanted now, again with back-off, and serves what they count.

Each worker is dramatiq's own command line with one process of one thread: one dead process ends dramatiq's
whole pool, so each has a pool of its own.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog
from prometheus_client import CollectorRegistry

import worker
from control.counted import Counted
from control.counts import folder_for_counts
from control.endpoints import answering

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Where counts are served unless it is said otherwise: whoever asks is told, so to this machine alone.
LOOPBACK = "127.0.0.1"
#: A worker that dies again and again is started again after 0.5, 1, 2 … 30 s.
_BACK_OFF = (0.5, 30.0)
#: A worker that lived this long begins its back-off anew.
_SETTLED = 30.0
#: dramatiq looks at its signal once a second, and a worker drops out after the batch at hand.
_STOP_WITHIN = 15.0
#: Names the folder in which processes of prometheus_client count together; without it each counts for itself.
_COUNTS = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(slots=True)
class _Member:
    process: subprocess.Popen[bytes]
    started: float
    back_off: float = _BACK_OFF[0]
    due: float | None = None
    leave_by: float = 0.0
    """When one that was told to stop is killed."""


@dataclass(slots=True)
class WorkerPool:
    """Workers of one database and one queue."""

    environment: dict[str, str]
    log_to: IO[bytes] | None
    _members: list[_Member] = field(default_factory=list)
    _leaving: list[_Member] = field(default_factory=list)
    _wanted: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _watcher: threading.Thread | None = None

    def start(self, count: int) -> None:
        """Start so many workers, and a thread that watches over them; `stop` ends what was started so far."""
        self._wanted = count
        for _ in range(count):
            self._members.append(_Member(self._spawn(), time.monotonic()))
        self._watcher = threading.Thread(target=self._watch, name="worker-pool", daemon=True)
        self._watcher.start()

    def resize(self, count: int) -> None:
        """Have so many workers from now on; those that are too many go after the batch at hand."""
        self._wanted = count

    def statuses(self) -> list[int | None]:
        """How dramatiq's parents ended, one per worker; None for one that runs."""
        return [member.process.returncode for member in self._members]

    def unready(self) -> str | None:
        """Why no batch of ours can be done now: none of the workers that are wanted is alive."""
        if self._wanted == 0 or any(status is None for status in self.statuses()):
            return None
        return "no worker is alive; they are started again"

    def wait(self) -> None:
        """Wait until the pool is told to stop."""
        self._stopping.wait()

    def stop(self) -> None:
        """Tell all to stop, wait for the batches at hand, and kill what does not stop."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()  # it may be starting one again just now
        while self._members:
            self._tell_to_stop(self._members[-1])
        for member in self._leaving:
            with suppress(subprocess.TimeoutExpired):
                member.process.wait(max(0.1, member.leave_by - time.monotonic()))
            _clear(member)

    def _tell_to_stop(self, member: _Member) -> None:
        # To dramatiq's parent alone, which hands it on once its child listens. A second signal, as the
        # whole group would give it, ends a child inside its batch; one that still starts hangs on it.
        member.process.terminate()
        member.leave_by = time.monotonic() + _STOP_WITHIN
        self._members.remove(member)
        self._leaving.append(member)

    def _spawn(self) -> subprocess.Popen[bytes]:
        ours = Path(worker.__file__).parent.parent
        return subprocess.Popen(  # noqa: S603  # a list, no shell, our own interpreter
            # -P and --path: a folder named `worker` where the operator stands must not be taken for ours.
            [
                *(sys.executable, "-P", "-m", "dramatiq", "--path", str(ours)),
                *("--processes", "1", "--threads", "1", "--skip-logging"),
                # Its own way out waits for the queue server, ten minutes if need be.
                *("--worker-shutdown-timeout", "5000", "--", "worker.actors"),
            ],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log_to,
            stderr=self.log_to,
            # Ctrl-C in the terminal is for the controller, which stops its workers in order.
            start_new_session=True,
        )

    def _watch(self) -> None:
        while not self._stopping.wait(0.2):
            self._fit(self._wanted)
            for member in self._members:
                self._revive(member)

    def _fit(self, wanted: int) -> None:
        """Start and stop as many as are too few or too many, without waiting for any."""
        if len(self._members) != wanted:
            log.info("the pool is resized", workers=len(self._members), to=wanted)
        while len(self._members) < wanted:
            self._members.append(_Member(self._spawn(), time.monotonic()))
        while len(self._members) > wanted:
            dead = (member for member in self._members if member.due is not None)
            self._tell_to_stop(next(dead, self._members[-1]))
        now = time.monotonic()
        gone = [one for one in self._leaving if one.process.poll() is not None or now > one.leave_by]
        for member in gone:
            _clear(member)
            self._leaving.remove(member)

    def _revive(self, member: _Member) -> None:
        status = member.process.poll()
        now = time.monotonic()
        if status is None:
            if now - member.started > _SETTLED:
                member.back_off = _BACK_OFF[0]
            return
        if member.due is None:
            member.due = now + member.back_off
            log.warning("a worker died and is started again", status=status, after_seconds=member.back_off)
            # What is left of its group, should dramatiq's parent have died before its child.
            _signal(member.process, signal.SIGKILL)
        elif now >= member.due and not self._stopping.is_set():
            member.process = self._spawn()
            member.started, member.due = now, None
            member.back_off = min(_BACK_OFF[1], member.back_off * 2)


def _clear(member: _Member) -> None:
    """Kill what is left of a worker that was told to stop."""
    if member.process.poll() is None:
        log.warning("a worker did not stop in time and is killed", pid=member.process.pid)
    _signal(member.process, signal.SIGKILL)
    member.process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # the group is gone; macOS says EPERM where only its zombie is left


@contextmanager
def workers(
    count: int,
    *,
    database_url: str,
    redis_url: str,
    namespace: str = "tenantry",
    log_to: IO[bytes] | None = None,
    metrics_port: int | None = None,
    metrics_host: str = LOOPBACK,
) -> Iterator[WorkerPool]:
    """Run `count` workers for as long as the context lasts.

    Addresses go by the environment, where other users of the host can't read them. What the workers count
    goes into a folder of ours where it is served, and else is kept by nobody.
    """
    environment = {name: value for name, value in os.environ.items() if name.upper() != _COUNTS} | {
        "TENANTRY_DATABASE_URL": database_url,
        "TENANTRY_REDIS_URL": redis_url,
        "TENANTRY_NAMESPACE": namespace,
        "TENANTRY_SUPERVISOR_PID": str(os.getpid()),
        "dramatiq_queue_prefetch": "1",
        "dramatiq_delay_queue_prefetch": "1",
    }
    with ExitStack() as house:
        pool = WorkerPool(environment, log_to)
        if metrics_port is not None:
            counts = house.enter_context(folder_for_counts())
            environment[_COUNTS] = str(counts)
            registry = CollectorRegistry()
            registry.register(Counted(counts))
            house.enter_context(answering(metrics_host, metrics_port, registry, pool.unready))
        try:
            pool.start(count)
            yield pool
        finally:
            pool.stop()
