"""Runs on a file that are killed again and again while an application writes: it notices nothing."""

import os
import random
from pathlib import Path

from control.demo.application_process import ApplicationProcess
from control.demo.messages import Report
from tests.integration.sqlite import graph, killing, walks
from tests.integration.sqlite.walks import NAME
from tests.integration.test_application import work

_RUN, _CONFIRM = ["run", "--no-throttle"], ["confirm", "application"]
_KILLS = 6
_SEED = int(os.environ.get("SEED", "1"))


def killed_often(command: list[str], folder: Path, choice: random.Random) -> None:
    """Run a command again and again, killed a little later each time, and then to its end."""
    statement = operations = 0
    for _ in range(_KILLS):
        statement += choice.randint(1, 40)
        operations += choice.randint(1, 400)
        point = choice.choice([str(statement), f"op{operations}"])
        if not killing.killed(command, folder, point):
            return
    killing.ended(command, folder)


def held(final: Report) -> None:
    assert (final.errors, final.last_error) == (0, None)
    assert final.two_key_retries == 0, "each operation is tried once"


def test_every_stage_is_killed_again_and_again_and_the_application_loses_and_notices_nothing(
    tmp_path: Path,
) -> None:
    folder = walks.ready("sample", tmp_path / "file")
    path = folder / NAME
    choice = random.Random(_SEED)
    with ApplicationProcess(graph.settings(path, rate=200)) as application:
        work(application, 40)
        killed_often(_RUN, folder, choice)
        application.switch("new")
        work(application, 40)
        killing.ended(_CONFIRM, folder)
        killed_often(_RUN, folder, choice)
        work(application, 40)
        held(application.stop())
    walks.complete(folder)
    assert graph.broken(path, "tenant_id") == []
