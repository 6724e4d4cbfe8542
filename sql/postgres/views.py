"""Trying, before anything is touched, whether a view can be defined anew on another key."""

from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from sql.named import load
from sql.postgres.catalog import STATEMENTS as CATALOG
from sql.postgres.catalog import verbatim
from sql.postgres.connection import Connection
from sql.postgres.facts import Table, View

STATEMENTS = load(Path(__file__).parent, "views")

_TRIAL = "tenantry_trial"


def look(connection: Connection, views: Sequence[View]) -> dict[int, bool]:
    """By oid the views that are there, and whether this role may define them anew."""
    if not views:
        return {}
    return dict(
        connection.execute(STATEMENTS.look.compose(), {"oids": [view.oid for view in views]}).fetchall()
    )


def refused(
    connection: Connection, table: Table, key: Sequence[str], *, tenant: str, view: View, definition: str
) -> str | None:
    """What the server says against the definition, were the key of the table these columns; None if nothing.

    It is tried on a temporary table of the same name and columns, in a transaction that is rolled back. So
    `definition` has the table's name without its schema.
    """
    name = sql.Identifier(table.name)
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(STATEMENTS.stand_in.compose(name=name, table=table.identifier))
            connection.execute(STATEMENTS.stand_in_column.compose(table=name, column=sql.Identifier(tenant)))
            columns = sql.SQL(", ").join(map(sql.Identifier, key))
            connection.execute(STATEMENTS.stand_in_key.compose(table=name, columns=columns))
            trial = sql.Identifier(_TRIAL)
            connection.execute(STATEMENTS.trial.compose(view=trial, definition=verbatim(definition)))
            asked = {"view": f"pg_temp.{_TRIAL}"}
            shown = connection.execute(STATEMENTS.trial_columns.compose(), asked).fetchall()
    except psycopg.Error as error:
        return error.diag.message_primary or str(error)
    if shown != [(column.name, column.type, column.collation) for column in view.columns]:
        return "it would show other columns"
    return None


def as_written(connection: Connection, definition: str) -> str | None:
    """What the server writes of a definition, names in full; None if it takes no such view now.

    It is tried in a transaction that is rolled back.
    """
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(CATALOG.bare_search_path.compose())
            trial = sql.Identifier(_TRIAL)
            connection.execute(STATEMENTS.trial.compose(view=trial, definition=verbatim(definition)))
            found = connection.execute(STATEMENTS.written.compose(), {"view": f"pg_temp.{_TRIAL}"}).fetchone()
    except psycopg.Error:
        return None
    return str(found[0]) if found else None
