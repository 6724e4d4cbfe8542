"""The sample graph in a database that is there: put in once, and known again by a comment on its table."""

import re
from typing import Any

import psycopg
from psycopg import errors

from control.demo import sample
from control.demo.sample import STATEMENTS
from sql.errors import GivenWrongError
from sql.postgres.connection import Connection, literal

_SIGN = "the sample of tenantry, {entities} entities"
_SIGNED = re.compile(re.escape(_SIGN).replace(r"\{entities\}", r"(\d+)"))


def load(connection: Connection, *, entities: int) -> bool:
    """Put the sample into a database; False where it is there already. `connection` is in autocommit.

    A load that was broken off is taken up again.

    Raises:
        GivenWrongError: it has tables of these names that are not the sample's, or the role may not.
    """
    there, size = _look(connection)
    if there and size is None:
        raise GivenWrongError(
            f"{connection.info.dbname} has graph_entities or graph_relations, which are not the sample's; "
            "name another database"
        )
    if there and _one(connection, STATEMENTS.filled.compose())[0]:
        return False
    try:
        with connection.transaction():
            if not there:
                sample.create(connection)
            connection.execute(STATEMENTS.sign.compose(sign=literal(_SIGN.format(entities=entities))))
    except errors.InsufficientPrivilege as error:
        raise GivenWrongError(f"this role may not make the sample: {error.diag.message_primary}") from None
    sample.fill(connection, entities=entities)
    return True


def size(connection: Connection) -> int:
    """How many entities the sample was loaded with.

    Raises:
        GivenWrongError: there is none.
    """
    _, found = _look(connection)
    if found is None:
        raise GivenWrongError(
            f"{connection.info.dbname} holds no sample; `tenantry sample load` puts one there"
        )
    return found


def _look(connection: Connection) -> tuple[bool, int | None]:
    """Whether tables of these names are there, and the size of the sample where they are its."""
    there, comment = _one(connection, STATEMENTS.standing.compose())
    signed = _SIGNED.fullmatch(comment or "")
    return there, int(signed[1]) if signed else None


def _one(connection: Connection, query: psycopg.sql.Composed) -> tuple[Any, ...]:
    (row,) = connection.execute(query).fetchall()
    return row
