"""The folder of a service's counts: nobody else's, and not left behind."""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from control.counts import folder_for_counts
from control.worker_pool import workers

#: A service that has a folder with a file in it, says where, and lives until it is killed.
_SERVICE = """
import sys, threading
from control.counts import folder_for_counts
with folder_for_counts() as folder:
    (folder / "counter_1.db").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder, empty."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def _started() -> tuple[subprocess.Popen[str], Path]:
    service = subprocess.Popen(
        [sys.executable, "-c", _SERVICE],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert service.stdout is not None
    return service, Path(service.stdout.readline().strip())


def test_the_next_service_takes_away_what_a_killed_one_left_and_nothing_of_a_living_one(
    temporary: Path,
) -> None:
    with _started()[0] as living, _started()[0] as killed:
        there = set(temporary.iterdir())
        assert len(there) == 2
        killed.kill()
        killed.wait()
        with folder_for_counts() as ours:
            (left,) = set(temporary.iterdir()) - {ours}
            assert left in there
            assert [file.name for file in left.iterdir()] == ["counter_1.db"]
        living.communicate()
    assert list(temporary.iterdir()) == []


def test_what_leads_elsewhere_or_holds_anything_else_stays(temporary: Path) -> None:
    theirs = temporary / "theirs"
    theirs.mkdir()
    (theirs / "counter_1.db").touch()
    (temporary / "tenantry-counts-link").symlink_to(theirs)
    (temporary / "tenantry-counts-file").touch()
    other = temporary / "tenantry-counts-other"
    other.mkdir()
    (other / "letters").touch()
    with folder_for_counts():
        pass
    assert {str(path.relative_to(temporary)) for path in temporary.rglob("*")} == {
        *("theirs", "theirs/counter_1.db", "tenantry-counts-link", "tenantry-counts-file"),
        *("tenantry-counts-other", "tenantry-counts-other/letters"),
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_another_users_folder_stays(temporary: Path) -> None:
    theirs = temporary / "tenantry-counts-theirs"
    theirs.mkdir()
    (theirs / "counter_1.db").touch()
    os.chown(theirs, 1, 1)
    with folder_for_counts():
        pass
    assert list(temporary.rglob("*.db")) == [theirs / "counter_1.db"]


def test_services_that_start_at_the_same_time_leave_each_other_theirs(temporary: Path) -> None:
    def start(_nth: int) -> bool:
        with folder_for_counts() as ours:
            (ours / "counter_1.db").touch()
            return ours.exists()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(start, range(400)))
    assert list(temporary.iterdir()) == []


def test_what_nobody_is_served_is_written_nowhere(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(temporary / "of another program"))
    with workers(0, database_url="postgresql://nowhere", redis_url="redis://nowhere") as pool:
        assert list(temporary.iterdir()) == []
        assert "PROMETHEUS_MULTIPROC_DIR" not in pool.environment
