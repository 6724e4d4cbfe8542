"""The demo's application as a service: it works on a sample until told to stop, in the code that fits."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from pydantic import SecretStr

from control.demo import loading, summary
from control.demo.application_process import ApplicationProcess
from control.demo.messages import Code, Settings
from control.demo.sample import STATEMENTS
from sql.errors import UnreachableError
from sql.postgres.connection import Connection, connect

#: Seconds between two looks at the keys. A way back builds the old key well before it drops the new one.
_LOOK_EVERY = 0.2
#: Seconds between two lines.
_TELL_EVERY = 2.0


@dataclass(frozen=True, slots=True)
class UniqueKeys:
    """Which unique keys the entities have: `(id)`, which the old code upserts by, and the new code's."""

    old: bool = False
    new: bool = False


def code_for(now: UniqueKeys, before: UniqueKeys, running: Code) -> Code:
    """Which code is to run: that of the key that came last, so the old one's on the way back."""
    if now.new and not before.new:
        return "new"
    if now.old and not before.old:
        return "old"
    return running


def work(url: str, *, rate: float, tell: Callable[[str], None]) -> None:
    """Work on the sample until interrupted, deploy the code that fits, and tell how it goes.

    Args:
        url: resolved; a login of the application's, which need not see anything of the migration.
        rate: operations per second.
        tell: gets a line every two seconds, and one for each deployment.

    Raises:
        GivenWrongError: there is no sample.
        UnreachableError: no answer at the start, or the login refused.
        TenantryError: the application ended, or does not answer.
    """
    with (
        connect(url, "sample") as connection,
        tempfile.TemporaryDirectory(prefix="tenantry-sample-") as folder,
    ):
        fitting = _Fitting(url, connection)
        settings = Settings(
            url=SecretStr(url),
            folder=Path(folder),
            entities=loading.size(connection),
            rate=rate,
            code=fitting.code(),
            run=f"{time.time_ns() // 1_000_000:x}",
        )
        with ApplicationProcess(settings) as application:
            try:
                _watch(application, fitting, settings.code, tell)
            except KeyboardInterrupt:
                tell(f"stopped; {summary.line(application.stop())}")


def _watch(
    application: ApplicationProcess, fitting: "_Fitting", running: Code, tell: Callable[[str], None]
) -> None:
    errors = 0
    due = time.monotonic()
    while True:
        time.sleep(_LOOK_EVERY)
        if (code := fitting.code()) != running:
            application.switch(code)
            running = code
            tell(f"the {code} code is deployed")
        report = application.latest
        line = summary.line(report)
        if report is None or line is None or time.monotonic() < due:
            continue
        due += _TELL_EVERY
        tell(line)
        if report.last_error is not None and report.errors > errors:
            tell(f"last error: {report.last_error.sqlstate} {report.last_error.message}")
        errors = report.errors


@dataclass(slots=True)
class _Fitting:
    """Watches the keys; while the server is away, what ran goes on running."""

    url: str
    connection: Connection
    _keys: UniqueKeys = UniqueKeys()
    _code: Code = "old"

    def code(self) -> Code:
        """Look, and say which code is to run."""
        try:
            if self.connection.closed:
                self.connection = connect(self.url, "sample")
            ((old, new),) = self.connection.execute(STATEMENTS.upserting.compose()).fetchall()
        except (UnreachableError, psycopg.OperationalError):
            return self._code
        before, self._keys = self._keys, UniqueKeys(old=old, new=new)
        self._code = code_for(self._keys, before, self._code)
        return self._code
