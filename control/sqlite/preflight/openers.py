"""Which processes of this machine have a file open."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROCESSES = Path("/proc")


@dataclass(frozen=True, slots=True)
class Openers:
    """The processes that were seen to have it open, and how many could not be looked into."""

    seen: list[str]
    hidden: int


def openers(file: Path) -> Openers | None:
    """Name them, without this one; None where the operating system doesn't tell.

    Another user's are told only to root.
    """
    if not (_PROCESSES / "self" / "fd").is_dir():
        return None
    try:
        wanted = file.stat()
    except OSError:
        return None
    seen, hidden = [], 0
    for process in _others():
        descriptors = _descriptors(process)
        if descriptors is None:
            hidden += 1
        elif any(_is_same(descriptor, wanted) for descriptor in descriptors):
            seen.append(f"{_name(process)} (process {process.name})")
    return Openers(seen, hidden)


def _others() -> Iterator[Path]:
    for process in sorted(_PROCESSES.iterdir()):
        if process.name.isdecimal() and int(process.name) != os.getpid():
            yield process


def _descriptors(process: Path) -> list[Path] | None:
    """What a process has open, nothing where it has ended by now; None where that is hidden."""
    try:
        return list((process / "fd").iterdir())
    except PermissionError:
        return None
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
