"""The demo's application on a SQLite file: one connection, as applications in WAL mode have it."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sql.sqlite
from control.demo.messages import Code
from control.demo.session import SessionError
from sql.named import load
from sql.sqlite.connection import path_of
from sql.sqlite.failure import sqlstate

#: How long a statement waits for another writer before it fails; seconds.
_BUSY_SECONDS = 5.0


def _statements(code: Code) -> dict[str, str]:
    folder = Path(sql.sqlite.__file__).parent
    return {each.name: each.filled() for each in load(folder, f"application_{code}")}


_STATEMENTS: Mapping[Code, dict[str, str]] = {"old": _statements("old"), "new": _statements("new")}


class FileSession:
    """A connection with foreign keys on and a busy timeout of 5 s.

    It writes by single statements and, where it reads before it writes, in IMMEDIATE transactions: those are
    the two ways in which SQLite lets a writer wait for its turn. It is the driver's own connection, as an
    application's is, so that nothing of what Tenantry does to its connections makes it wait any better.

    Raises:
        SessionError: there is no such file.
    """

    def __init__(self, url: str) -> None:
        try:
            self._connection = sqlite3.connect(
                f"{path_of(url).absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # made by one thread, and used by another from then on
            )
            self._connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error as error:
            raise _told(error) from error

    def write(self, code: Code, statement: str, parameters: Mapping[str, Any]) -> int:
        """Write by one statement, or after a look at what is there; how many rows it touched."""
        try:
            if statement == "update_entity":
                with self._immediate():
                    self._execute(code, "read_entity", parameters).fetchall()
                    return self._execute(code, statement, parameters).rowcount
            if statement == "upsert_entity" and code == "new":
                with self._immediate():
                    found = self._execute(code, statement, parameters).rowcount
                    return found or self._execute(code, "insert_entity", parameters).rowcount
            return self._execute(code, statement, parameters).rowcount
        except sqlite3.Error as error:
            raise _told(error) from error

    def read(self, code: Code, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Read by one statement; its rows."""
        try:
            cursor = self._execute(code, statement, parameters)
            json_at = [at for at, (name, *_) in enumerate(cursor.description) if name == "properties"]
            return [
                [json.loads(value) if at in json_at else value for at, value in enumerate(row)]
                for row in cursor
            ]
        except sqlite3.Error as error:
            raise _told(error) from error

    def delete_entity(self, code: Code, parameters: Mapping[str, Any]) -> tuple[int, Sequence[str]]:
        """Delete an entity, after a look at the relations that go with it."""
        try:
            with self._immediate():
                going = [key for (key,) in self._execute(code, "relations_of_entity", parameters)]
                return self._execute(code, "delete_entity", parameters).rowcount, going
        except sqlite3.Error as error:
            raise _told(error) from error

    def cancel(self) -> None:
        """Cancel the statement under way, from another thread."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _execute(self, code: Code, statement: str, parameters: Mapping[str, Any]) -> sqlite3.Cursor:
        given = {
            name: json.dumps(value) if isinstance(value, dict) else value
            for name, value in parameters.items()
        }
        return self._connection.execute(_STATEMENTS[code][statement], given)

    @contextmanager
    def _immediate(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _told(error: sqlite3.Error) -> SessionError:
    """What SQLite refused it took back: whoever is told of an error is never in doubt."""
    return SessionError(sqlstate(error), str(error))
