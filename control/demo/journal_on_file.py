"""The journal beside the sample's tables in a SQLite file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sql.sqlite
from control.demo.promised import Promised
from sql.named import load
from sql.sqlite.connection import File
from sql.sqlite.names import quoted

STATEMENTS = load(Path(sql.sqlite.__file__).parent, "journal")


class FileTables:
    """The tables of one file.

    Args:
        file: in autocommit.
        tenant_column: None where there is none.
    """

    def __init__(self, file: File, tenant_column: str | None) -> None:
        self._file = file
        self._tenants = {"tenant": "e.org", "same_source": "true", "same_target": "true"}
        if tenant_column is not None:
            column = quoted(tenant_column)
            self._tenants = {
                "tenant": f"t.{column}",
                "same_source": f"s.{column} = r.{column}",
                "same_target": f"t.{column} = r.{column}",
            }

    @contextmanager
    def beside(self, promised: Promised) -> Iterator[None]:
        """Bring what was promised into temporary tables, which go with the snapshot's transaction."""
        with self._file.snapshot():
            for statement in (
                STATEMENTS.create_entities,
                STATEMENTS.create_relations,
                STATEMENTS.create_deleted,
                STATEMENTS.create_gone,
                STATEMENTS.create_shared,
                STATEMENTS.index_shared,
            ):
                self._file.execute(statement.filled())
            for journal, rows in promised.rows():
                self._file.raw.executemany(getattr(STATEMENTS, f"insert_{journal}").filled(), rows)
            yield

    def row(self, statement: str, parameters: Mapping[str, int]) -> dict[str, Any]:
        """The only row of a statement of `journal.sql`."""
        (row,) = self._file.rows(getattr(STATEMENTS, statement).filled(**self._tenants), parameters)
        return row
