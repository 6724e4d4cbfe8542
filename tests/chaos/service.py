"""A command that is started again whenever it fails, as a service manager does."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.integration.operating import TENANTRY

#: Seconds between an end and the next start.
_AGAIN_AFTER = 0.3
#: How long one that is told to stop may take; seconds.
_STOP_WITHIN = 20.0


class Service:
    """Runs `tenantry …` until it ends with one of `over`, and starts it anew after every other end."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        over: frozenset[int] = frozenset(),
    ) -> None:
        self._command = [str(TENANTRY), *arguments]
        self._folder, self._environment, self._over = folder, dict(environment), over
        self.log = folder / f"{arguments[0]}-{threading.get_native_id()}-{id(self)}.log"
        self.ended: list[int] = []
        """Every exit status so far; a signal's number is negative."""
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process = self._start()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _keep(self) -> None:
        while True:
            self.ended.append(self._process.wait())
            if self.ended[-1] in self._over or self._stopping.wait(_AGAIN_AFTER):
                return
            with self._lock:
                if self._stopping.is_set():
                    return
                self._process = self._start()

    @property
    def pid(self) -> int:
        """The process of now."""
        return self._process.pid

    @property
    def is_over(self) -> bool:
        """Whether it has ended for good."""
        return not self._thread.is_alive()

    def kill(self) -> None:
        """SIGKILL: nothing of it can be said or put in order."""
        os.kill(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it for good."""
        with self._lock:
            self._stopping.set()
            if self._process.poll() is None:
                self._process.terminate()
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join()
