"""The ledger's statements, sent to whichever database it is in; `worker.ledger` and `worker.jobs` mean them.

They are named once: `sql/sqlite/ledger.sql` and its like have those of `sql/postgres` by the same names.
"""

from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from sql.database import Database
from sql.errors import LedgerGarbledError
from sql.named import Statement
from sql.postgres import ledger as postgres
from sql.postgres.holds import HOLDS
from sql.postgres.ledger import JOBS, LEDGER, UPGRADE
from sql.sqlite import ledger as sqlite
from sql.sqlite.connection import File

__all__ = ["HOLDS", "JOBS", "LEDGER", "UPGRADE", "meant", "send", "send_each"]

_T = TypeVar("_T")


def send(connection: Database, statement: Statement, **parameters: Any) -> list[dict[str, Any]]:
    """Send a statement of the ledger; its rows as dictionaries, none where it returns none."""
    if isinstance(connection, File):
        return sqlite.send(connection, statement, **parameters)
    return postgres.send(connection, statement, **parameters)


def send_each(
    connection: Database, statement: Statement, parameters: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Send a statement once for each of the parameters, to a server in one go; the rows of all in order."""
    if isinstance(connection, File):
        return [row for given in parameters for row in sqlite.send(connection, statement, **given)]
    return postgres.send_each(connection, statement, parameters)


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    """What reads a kind, made once: a migration's record has five, and is read many times a second."""
    return TypeAdapter(cast("Any", kind))


def meant(kind: type[_T], value: Any, column: str, migration: str | None) -> _T:
    """What JSON of the ledger means; `column` is named with its table, as `migrations.original`.

    Raises:
        LedgerGarbledError: it is no such thing.
    """
    try:
        found: _T = _adapter(cast("Hashable", kind)).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        why = f"{place}: {first['msg']}" if place else first["msg"]
        raise LedgerGarbledError(column, migration, why) from None
    return found
