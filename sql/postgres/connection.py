"""Connections to PostgreSQL, each with everything set that a default could spoil."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo, sql
from psycopg.abc import Buffer
from psycopg.rows import TupleRow
from psycopg.types.datetime import TimestamptzLoader
from psycopg_pool import ConnectionPool

from sql.errors import GivenWrongError, UnreachableError

Connection = psycopg.Connection[TupleRow]
Pool = ConnectionPool[Connection]

#: A dead peer is noticed in 30 s and three times 10 s instead of the two hours of TCP's default.
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}

#: `row_security = off` turns a silent filter into an error: FORCE RLS emptied others' backfills without a
#: word (shared lesson: opengeni#1608). DateStyle and the rest make keys survive the trip through text.
_SESSION = {
    "default_transaction_isolation": "read committed",
    "row_security": "off",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "idle_in_transaction_session_timeout": "60s",
}


#: What the plan writes in place of an address or a secret: where that is.
_ELSEWHERE = ("env:", "file:")
#: A longer file is another one than was meant; characters.
_LONGEST_SECRET = 10_000


def is_elsewhere(url: str) -> bool:
    """Whether this only says where an address or a secret is, `env:NAME` or `file:PATH`, and tells none."""
    return url.startswith(_ELSEWHERE)


def resolve(url: str, what: str = "its address") -> str:
    """Read an `env:NAME` address from the environment, a `file:PATH` one from a file; any other is itself.

    `what` says what it is, where it is no address.

    Raises:
        GivenWrongError: the variable is not set, or is empty; the file can't be read, holds no line or
            several, or is everybody's to write.
    """
    if url.startswith("file:"):
        return _read(Path(url.removeprefix("file:")), what)
    if not url.startswith("env:"):
        return url
    name = url.removeprefix("env:")
    # Empty is what a secret that failed to arrive looks like, and libpq would go to its default server.
    if not (address := os.environ.get(name)):
        raise GivenWrongError(f"the plan takes {what} from ${name}, which is not set; export it")
    return address


def _read(path: Path, what: str) -> str:
    """The one line of a file, as secrets of containers come; what is wrong with it never quotes it."""
    taken = f"the plan takes {what} from the file {path}, which"
    try:
        with path.open(encoding="utf-8") as file:
            # A container's are for everybody in it to read, who is nobody else. Whoever may write one says to
            # which server the next session goes.
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LONGEST_SECRET + 1)
    except OSError as error:
        raise GivenWrongError(f"{taken} can't be read: {error.strerror}") from None
    except ValueError:
        raise GivenWrongError(f"{taken} is not UTF-8") from None
    line = text.removesuffix("\n")
    if not line or "\n" in line or len(text) > _LONGEST_SECRET:
        raise GivenWrongError(f"{taken} must hold one line and nothing else")
    if mode & stat.S_IWOTH:
        raise GivenWrongError(f"{taken} everybody may write; chmod it 0600")
    return line


def describe(url: str) -> str:
    """Name the server of an address without its password.

    Raises:
        GivenWrongError: not a connection string.
    """
    try:
        parts: dict[str, Any] = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The parser's own message may quote the address, and with it the password.
        raise GivenWrongError(
            "the database address can't be read; write postgresql://user@host:port/name"
        ) from None
    host = parts.get("host") or "local socket"
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"PostgreSQL {parts.get('dbname') or '(default database)'} at {host}{port}"


def session_options(
    *, statement_timeout_ms: int = 0, lock_timeout_ms: int = 0, synchronous_commit: str | None = None
) -> str:
    """The `options` of a connection string: set before the first statement, and again after a reconnect."""
    settings = _SESSION | {
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(lock_timeout_ms),
    }
    if synchronous_commit is not None:
        settings["synchronous_commit"] = synchronous_commit
    return " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in settings.items())


def parameters(url: str, purpose: str, options: str) -> dict[str, Any]:
    """Keyword arguments of a connection for `purpose` (it ends in `application_name`)."""
    given: dict[str, Any] = conninfo.conninfo_to_dict(url)
    options = f"{given['options']} {options}" if given.get("options") else options
    return {
        **_KEEPALIVES,
        "connect_timeout": 10,
        **given,
        "application_name": f"tenantry {purpose}",
        "options": options,
    }


def connect(url: str, purpose: str, *, statement_timeout_ms: int = 0, lock_timeout_ms: int = 0) -> Connection:
    """Open an autocommit connection; `url` may be `env:NAME`.

    Timeouts are in milliseconds, 0 for none: statements that need one are bounded where they are sent.

    Raises:
        GivenWrongError: the address can't be read, or its sessions have a DateStyle that can't.
        UnreachableError: no answer, or the login refused.
    """
    url = resolve(url)
    server = describe(url)
    options = session_options(statement_timeout_ms=statement_timeout_ms, lock_timeout_ms=lock_timeout_ms)
    try:
        connection: Connection = psycopg.connect(autocommit=True, **parameters(url, purpose, options))
    except psycopg.OperationalError as error:
        # The first line says why, behind the server's name; the rest asks whether it runs.
        reason = str(error).strip().splitlines()[0].rpartition(" failed: ")[2]
        raise UnreachableError(server, reason) from None
    style = connection.info.parameter_status("DateStyle") or "ISO"
    if not style.startswith("ISO"):
        # Set by us it would be another one than the guard's, and an expression of the plan may lean on it.
        connection.close()
        raise GivenWrongError(
            f"{server}: its sessions have DateStyle {style}, and times are read in ISO; give its role "
            "ALTER ROLE … SET datestyle = 'ISO' (days and months may keep their order), or PGDATESTYLE=ISO"
        )
    connection.adapters.register_loader("timestamptz", _InUtc)
    return connection


class _InUtc(TimestamptzLoader):
    """Times in UTC, as we tell them. The session keeps its zone: expressions of a plan may lean on it."""

    def load(self, data: Buffer) -> datetime:
        moment = super().load(data)
        try:
            return moment.astimezone(UTC)
        except OverflowError:  # the end of the year 9999, or the beginning of 1
            return moment


def literal(value: str | None) -> sql.Composable:
    """A text value as SQL, for statements that take no parameters (DDL)."""
    return sql.SQL("NULL") if value is None else sql.Literal(value)
