"""The demo's application on PostgreSQL: one connection."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

import sql.postgres
from control.demo.messages import Code
from control.demo.session import SessionError
from sql.named import load

_CONNECTION_LOST = "08006"


def _statements(code: Code) -> dict[str, bytes]:
    folder = Path(sql.postgres.__file__).parent
    return {each.name: each.compose().as_bytes(None) for each in load(folder, f"application_{code}")}


_STATEMENTS: Mapping[Code, dict[str, bytes]] = {"old": _statements("old"), "new": _statements("new")}


class ServerSession:
    """A connection in autocommit; the new code says in each transaction for which tenant it works.

    Args:
        url: resolved.
        retried: told when an upsert has met the two-key window and is sent a second time.

    Raises:
        SessionError: the server can't be reached, or refuses the login.
    """

    def __init__(self, url: str, retried: Callable[[], None]) -> None:
        self._retried = retried
        try:
            self._connection = psycopg.connect(
                url, autocommit=True, application_name="graph application", connect_timeout=10
            )
        except psycopg.Error as error:
            raise self._told(error, lost=True) from error

    def write(self, code: Code, statement: str, parameters: Mapping[str, Any]) -> int:
        """Write by one statement; how many rows it touched."""
        try:
            try:
                return self._execute(code, statement, parameters).rowcount
            except errors.UniqueViolation:
                # While the old and the new unique key stand side by side, two upserts of one new id can
                # meet in the index that is not their arbiter. Applications retry such an upsert once; so
                # does this one.
                if statement != "upsert_entity":
                    raise
                self._retried()
                return self._execute(code, statement, parameters).rowcount
        except psycopg.Error as error:
            raise self._told(error) from error

    def read(self, code: Code, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Read by one statement; its rows."""
        try:
            return self._execute(code, statement, parameters).fetchall()
        except psycopg.Error as error:
            raise self._told(error) from error

    def delete_entity(self, code: Code, parameters: Mapping[str, Any]) -> tuple[int, Sequence[str]]:
        """Delete an entity by a statement that says what goes with it."""
        ((found, relations),) = self.read(code, "delete_entity", parameters)
        return found, relations

    def cancel(self) -> None:
        """Cancel the statement under way, from another thread."""
        self._connection.cancel_safe(timeout=5)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _execute(self, code: Code, statement: str, parameters: Mapping[str, Any]) -> psycopg.Cursor[TupleRow]:
        statements = _STATEMENTS[code]
        given = {
            name: Jsonb(value) if isinstance(value, dict) else value for name, value in parameters.items()
        }
        if code == "old":
            return self._connection.execute(statements[statement], given)
        with self._connection.transaction():
            self._connection.execute(statements["scope"], given)
            return self._connection.execute(statements[statement], given)

    def _told(self, error: psycopg.Error, *, lost: bool = False) -> SessionError:
        in_doubt = (
            lost or self._connection.closed or isinstance(error, errors.AdminShutdown | errors.CrashShutdown)
        )
        return SessionError(error.sqlstate or _CONNECTION_LOST, str(error).strip(), in_doubt=in_doubt)
