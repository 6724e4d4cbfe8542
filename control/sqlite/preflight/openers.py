"""Which processes of this machine have a file open."""

import os
from collections.abc import Iterator
from pathlib import Path

_PROCESSES = Path("/proc")


def openers(file: Path) -> list[str] | None:
    """Name them, without this one; None where the operating system doesn't tell.

    Another user's are told only to root.
    """
    if not (_PROCESSES / "self" / "fd").is_dir():
        return None
    try:
        wanted = file.stat()
    except OSError:
        return None
    return [
        f"{_name(process)} (process {process.name})"
        for process in _others()
        if any(_is_same(descriptor, wanted) for descriptor in _descriptors(process))
    ]


def _others() -> Iterator[Path]:
    for process in sorted(_PROCESSES.iterdir()):
        if process.name.isdecimal() and int(process.name) != os.getpid():
            yield process


def _descriptors(process: Path) -> list[Path]:
    try:
        return list((process / "fd").iterdir())
    except OSError:
        return []


def _is_same(descriptor: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(descriptor.stat(), wanted)
    except OSError:
        return False


def _name(process: Path) -> str:
    # Not its command line: there may be secrets in it.
    try:
        return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a process"
