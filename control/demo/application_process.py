"""The parent's handle on the demo's application."""

import contextlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from control.demo.messages import MESSAGE, Code, Failed, Message, Ready, Report, Settings, Switched
from sql.errors import TenantryError

_START_SECONDS = 30.0


class ApplicationEndedError(TenantryError):
    """The application's process failed; `reason` is its own last word."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the demo's application ended: {reason}")


class ApplicationSilentError(TenantryError):
    """The application did not answer in time: a connection of it is blocked, and `last` shows how long."""

    def __init__(self, awaited: str, seconds: float, last: Report | None) -> None:
        self.last = last
        stall = f", an operation under way for {last.interval_worst_ms:.0f} ms" if last else ""
        super().__init__(
            f"the demo's application was not {awaited} after {seconds:.0f} s{stall}; see pg_locks"
        )


class ApplicationProcess:
    """The application as a child process, from its making to `close`.

    Best in a `with` block, which closes it. A parent that dies without closing takes the child along, since
    the child's standard input ends with the parent. The folder of `settings` is made if it isn't there; it
    gets the journal, and in `application.log` the child's standard error.

    Raises:
        ApplicationEndedError: it could not connect.
        ApplicationSilentError: it did not connect in time.
    """

    def __init__(self, settings: Settings) -> None:
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._log = settings.folder / "application.log"
        self._latest: Report | None = None
        self._answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "control.demo.application"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # A Ctrl-C at the terminal is the parent's to handle: it still wants the final report.
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        try:
            self._tell(settings.model_dump_json())
            self._await(lambda message: isinstance(message, Ready), "ready", _START_SECONDS)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def latest(self) -> Report | None:
        """The newest report; None until the first, half a second after the start."""
        return self._latest

    def switch(self, code: Code, *, timeout: float = 60.0) -> None:
        """Deploy the other code; returns when no connection runs the former one any more.

        Raises:
            ApplicationEndedError: it ended.
            ApplicationSilentError: a connection was blocked in the former code for `timeout` seconds.
        """
        self._tell(code)
        self._await(lambda message: message == Switched(code=code), f"running the {code} code", timeout)

    def stop(self, *, timeout: float = 60.0) -> Report:
        """End the work in good order; the journal is complete then.

        Raises:
            ApplicationEndedError: it ended without a final report.
            ApplicationSilentError: its statements did not end for `timeout` seconds, not even cancelled.
        """
        self._tell("stop")
        final = self._await(lambda message: isinstance(message, Report), "stopped", timeout)
        assert isinstance(final, Report)  # noqa: S101  # told by the condition above
        self._process.wait(timeout)
        self.close()
        return final

    def close(self) -> None:
        """Kill what is left of it; the journal stays incomplete if it was not stopped before."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # a command that nobody read any more
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  # it was opened as a pipe
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ApplicationEndedError(self._last_words()) from None

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  # it was opened as a pipe
        for line in self._process.stdout:
            message = MESSAGE.validate_json(line)
            if isinstance(message, Report):
                self._latest = message
            if not isinstance(message, Report) or message.final:
                self._answers.put(message)
        self._answers.put(None)

    def _await(self, awaited: Callable[[Message], bool], state: str, timeout: float) -> Message:
        deadline = time.monotonic() + timeout
        while True:
            try:
                message = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise ApplicationSilentError(state, timeout, self._latest) from None
            if message is None:
                raise ApplicationEndedError(self._last_words())
            if isinstance(message, Failed):
                raise ApplicationEndedError(message.reason)
            if awaited(message):
                return message

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.poll()}"
