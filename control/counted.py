"""What worker processes have counted, the living and the dead, as one scrape reads it.

Each process has files of its own, and one that is started again gets new ones: in a loop of crashes some
thousand a day, all of which each scrape would read. Those of the dead are laid together.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

#: In place of a process's number, in the name of the file of all who are dead; no process has it.
_THE_DEAD = 0
#: Bytes below which a file has just been made: its writer has not come to its first number.
_EMPTY = 8


# eq=False: a registry keeps its collectors by their hash.
@dataclass(slots=True, eq=False)
class Counted(Collector):
    """Adds up the files of a folder, which are named after kind and process: `counter_4711.db`."""

    folder: Path
    _at_hand: threading.Lock = field(default_factory=threading.Lock)

    def collect(self) -> Iterable[Metric]:
        """Answer one scrape; of two at once the second waits, for the first may be laying files together."""
        with self._at_hand:
            self._lay_together()
            files = [str(file) for file in self.folder.glob("*.db") if not _is_empty(file)]
            # The sums are made here and now, before the files may change.
            return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]  # untyped there

    def _lay_together(self) -> None:
        dead = defaultdict(list)
        for file in self.folder.glob("*.db"):
            kind, _, process = file.stem.partition("_")
            if not _is_alive(int(process)):
                dead[kind].append(file)
        for kind, files in dead.items():
            whole = self.folder / f"{kind}_{_THE_DEAD}.db"
            _sum([file for file in (whole, *files) if file.exists() and not _is_empty(file)], whole)
            for file in files:
                file.unlink()


def _sum(files: Iterable[Path], into: Path) -> None:
    sums: dict[str, float] = defaultdict(float)
    for file in files:
        for key, value, *_ in MmapedDict.read_all_values_from_file(file):  # type: ignore[no-untyped-call]
            sums[key] += value
    made = into.with_suffix(".new")
    written = MmapedDict(str(made))  # type: ignore[no-untyped-call]  # untyped there, all of it
    for key, value in sums.items():
        written.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    written.close()  # type: ignore[no-untyped-call]
    made.replace(into)


def _is_empty(file: Path) -> bool:
    return file.stat().st_size < _EMPTY


def _is_alive(process: int) -> bool:
    if process == _THE_DEAD:
        return True  # as far as its file goes
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody's
        return True
    return True
