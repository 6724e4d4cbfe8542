"""The PostgreSQL that tests run on: the wheel's, or another version by `TENANTRY_TEST_POSTGRES`.

`make test-full` goes through all of them. They come from npm, for there are wheels of the latest alone:
servers without client programs, which are the wheel's.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from control.embedded import postgres
from control.embedded.postgres import EmbeddedPostgres

#: Which of the versions in `package.json` to run on, such as `14`; the wheel's where it is not set.
VARIABLE = "TENANTRY_TEST_POSTGRES"


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
