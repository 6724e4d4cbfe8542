"""The command line, forked from a process that has loaded it, which takes a second of a processor each time.

Run as a program it reads requests, a line of JSON each, and writes the exit status of each command once it
has ended. What tests say of a start, of signals and of an end is said of the real program.
"""

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from control import cli

#: Seconds after which a command is given up.
_LONGEST = 120
_one_at_a_time = threading.Lock()


def typed(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], first: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `tenantry` to its end, with nothing to read, and return what it said.

    A command that takes too long ends by SIGALRM, which is a status of -14. `first` names what is called in
    its process before it, as `module:function`.
    """
    with TemporaryDirectory() as said:
        out, errors = Path(said, "out"), Path(said, "errors")
        asked = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
            "out": str(out),
            "errors": str(errors),
            "first": first,
        }
        with _one_at_a_time:
            server = _server()
            assert server.stdin is not None
            assert server.stdout is not None
            try:
                server.stdin.write(json.dumps(asked) + "\n")
                server.stdin.flush()
                status = int(server.stdout.readline())
            except BaseException:
                # Left waiting by a test's time limit it would answer the next test with this one's status.
                server.kill()
                _server.cache_clear()
                raise
        return subprocess.CompletedProcess(
            ["tenantry", *arguments], status, out.read_text(), errors.read_text()
        )


@cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.typist"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    for name in set(cli.COMMANDS.values()):
        importlib.import_module(f"control.cli.{name}")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _type(json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


def _type(asked: dict[str, Any]) -> None:
    signal.alarm(_LONGEST)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, asked["out"]), (2, asked["errors"])):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["tenantry", *asked["arguments"]]
    if asked["first"] is not None:
        module, _, function = asked["first"].partition(":")
        getattr(importlib.import_module(module), function)()
    status = 1
    try:
        status = cli.main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
