"""The journal beside the sample's tables in PostgreSQL."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from control.demo.promised import Promised
from sql.named import load
from sql.postgres import connection as postgres
from sql.postgres.connection import Connection

STATEMENTS = load(Path(postgres.__file__).parent, "journal")


class ServerTables:
    """The tables of one database.

    Args:
        connection: in autocommit, and not filtered by row-level security.
        tenant_column: None where there is none.
    """

    def __init__(self, connection: Connection, tenant_column: str | None) -> None:
        self._connection = connection
        self._tenants: dict[str, sql.Composable] = {
            "tenant": sql.SQL("e.org"),
            "same_source": sql.SQL("true"),
            "same_target": sql.SQL("true"),
        }
        if tenant_column is not None:
            column = sql.Identifier(tenant_column)
            self._tenants = {
                "tenant": sql.SQL("t.{}").format(column),
                "same_source": sql.SQL("s.{0} = r.{0}").format(column),
                "same_target": sql.SQL("t.{0} = r.{0}").format(column),
            }

    @contextmanager
    def beside(self, promised: Promised) -> Iterator[None]:
        """Bring what was promised by COPY, into temporary tables that go with the transaction."""
        with self._connection.transaction():
            for statement in (
                STATEMENTS.memory,
                STATEMENTS.create_entities,
                STATEMENTS.create_relations,
                STATEMENTS.create_deleted,
                STATEMENTS.create_gone,
                STATEMENTS.create_shared,
            ):
                self._connection.execute(statement.compose())
            for journal, rows in promised.rows():
                self._copy(journal, rows)
            self._connection.execute(STATEMENTS.analyze.compose())
            yield

    def row(self, statement: str, parameters: Mapping[str, int]) -> dict[str, Any]:
        """The only row of a statement of `journal.sql`."""
        composed = getattr(STATEMENTS, statement).compose(**self._tenants)
        with self._connection.cursor(row_factory=dict_row) as cursor:
            (row,) = cursor.execute(composed, parameters or None).fetchall()
        return row

    def _copy(self, journal: str, rows: Iterable[tuple[object, ...]]) -> None:
        statement = STATEMENTS.copy.compose(journal=sql.Identifier(f"journal_{journal}"))
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
