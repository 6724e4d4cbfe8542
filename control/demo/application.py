"""The demo's application: a process of its own that works on the graph while it is migrated.

`python -m control.demo.application` reads `Settings` and then commands from standard input, a line each, and
writes `Message`s to standard output (see `control.demo.messages`); `control.demo.application_process` is the
other end. It ends with its parent: the end of standard input stops it, whatever became of the parent.
"""

import contextlib
import itertools
import os
import queue
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait

from pydantic import BaseModel

from control.demo.client import Client, Deployment
from control.demo.messages import Code, Failed, Ready, Settings, Switched
from control.demo.meter import Meter
from control.demo.session import SessionError

_REPORT_EVERY = 0.5
#: How often to look whether a switch is complete: the operator's `confirm` waits for it.
_LOOK_EVERY = 0.02
#: How long statements under way may take to end by themselves before they are cancelled.
_PATIENCE = 10.0
#: How long they may take when the parent is gone.
_GRACE = 2.0
_PARENT_GONE = "parent gone"
_ENDS = {"stop": True, _PARENT_GONE: False}
_CODES: dict[str, Code] = {"old": "old", "new": "new"}


def main() -> int:
    """Run until told to stop; the exit status is 0 unless the application could not start."""
    settings = Settings.model_validate_json(sys.stdin.readline())
    commands: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()

    stop = threading.Event()
    meter = Meter(settings.connections)
    deployment = Deployment(settings.code, settings.connections)
    shared = itertools.count()
    try:
        clients = [
            Client(settings, number, deployment=deployment, meter=meter, shared=shared, stop=stop)
            for number in range(settings.connections)
        ]
    except (SessionError, OSError) as error:
        _say(Failed(reason=str(error)))
        return 1
    with ThreadPoolExecutor(settings.connections) as threads:
        work = [threads.submit(client.run) for client in clients]
        _say(Ready())
        try:
            parent_here = _obey(commands, work, deployment, meter)
        finally:
            stop.set()
        if not parent_here:
            # Nobody hears more from us, and the server may hang: end even if a statement never does.
            wait(work, timeout=_GRACE)
            os._exit(1)
        _finish(clients, work)
    _say(meter.report(deployment.wanted, final=True))
    return 0


def _listen(commands: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        commands.put(line.strip())
    commands.put(_PARENT_GONE)


def _obey(
    commands: "queue.SimpleQueue[str]", work: list[Future[None]], deployment: Deployment, meter: Meter
) -> bool:
    """Report and take commands until `stop` (true), or until the parent is gone (false)."""
    switching = False
    due = time.monotonic() + _REPORT_EVERY
    while True:
        pause = max(0.0, due - time.monotonic())
        with contextlib.suppress(queue.Empty):
            command = commands.get(timeout=min(pause, _LOOK_EVERY) if switching else pause)
            if command in _ENDS:
                return _ENDS[command]
            deployment.wanted = _CODES[command]
            switching = True
        for each in work:
            if each.done():  # only a mistake of ours ends a client before `stop`
                each.result()
        try:
            if switching and deployment.complete():
                switching = False
                _say(Switched(code=deployment.wanted))
            if time.monotonic() >= due:
                due += _REPORT_EVERY
                _say(meter.report(deployment.wanted))
        except BrokenPipeError:
            return False


def _finish(clients: list[Client], work: list[Future[None]]) -> None:
    """Let every client end its operation; one that is blocked is cancelled, so that its outcome is known."""
    _, blocked = wait(work, timeout=_PATIENCE)
    while blocked:
        for client, each in zip(clients, work, strict=True):
            if each in blocked:
                client.cancel()
        _, blocked = wait(work, timeout=1)
    for each in work:
        each.result()


def _say(message: BaseModel) -> None:
    sys.stdout.write(message.model_dump_json() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
