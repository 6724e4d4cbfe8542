"""`tenantry demo --sqlite` in one command, and nothing of it left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.waiting import until

TENANTRY = Path(sys.executable).parent / "tenantry"


def test_a_demo_on_a_file_holds_everything_and_leaves_nothing(tmp_path: Path) -> None:
    demo = subprocess.run(
        [TENANTRY, "demo", "--sqlite", "--entities", "2000"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stdout.rstrip().endswith("every check holds")
    assert " 0 errors" in demo.stdout
    assert not list(tmp_path.iterdir())


def test_a_demo_on_a_file_that_is_interrupted_leaves_nothing_either(tmp_path: Path) -> None:
    with subprocess.Popen(
        [TENANTRY, "demo", "--sqlite", "--entities", "20000"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        until(lambda: list(tmp_path.glob("*/journal/connection-*")), "the application")
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=60)
    assert demo.returncode == 130, said
    assert not list(tmp_path.iterdir())
