"""The folder in which workers count: one service's own, and gone with it, or with the next that starts."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "tenantry-counts-"
#: What is in it: a process's counts, and those of the dead while they are laid together.
_OURS = (".db", ".new")


@contextmanager
def folder_for_counts() -> Iterator[Path]:
    """Make a folder for as long as the context lasts, and take away those of services that were killed.

    Whoever has a folder keeps it locked, which ends with the process however that ends: a number in its name
    may be another process's by now, or that of another container. What clears temporary folders of all that
    is old (systemd-tmpfiles) goes by such a lock, too.
    """
    _take_away_what_is_left(Path(tempfile.gettempdir()))
    path, lock = _made()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _made() -> tuple[Path, int]:
    """A folder of ours, and what keeps it locked."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with suppress(FileNotFoundError, BlockingIOError):
            lock = _locked(path)
            if path.exists():
                return path, lock
            os.close(lock)  # one that started at the same time took it for left


def _locked(path: Path) -> int:
    # Not by a link, which anybody may put into a temporary folder.
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened


def _take_away_what_is_left(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        # Somebody's who is at work, another user's, or gone meanwhile: not ours to take away.
        with suppress(OSError):
            lock = _locked(path)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    _take_away(path, lock)
            finally:
                os.close(lock)


def _take_away(path: Path, opened: int) -> None:
    """Remove a folder and our files in it, by what was opened: a name may lead elsewhere by now.

    Raises:
        OSError: something else is in it, and stays.
    """
    for name in os.listdir(opened):
        if name.endswith(_OURS):
            os.unlink(name, dir_fd=opened)
    path.rmdir()
