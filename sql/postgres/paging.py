"""What is asked of a table before it is cut: how its heap lies, and how many rows it holds."""

from dataclasses import dataclass
from pathlib import Path

from psycopg import sql
from psycopg.rows import dict_row

from sql.named import load
from sql.postgres.connection import Connection

PAGING = load(Path(__file__).parent, "paging")

#: Pages that a sample looks at where the server has no statistics.
_SAMPLED = 100


@dataclass(frozen=True, slots=True)
class Heap:
    """A table's heap: its pages, those of the server's cache, its rows about, and how the key lies in it.

    `correlation` is that of the key's first column, -1 to 1; None where it was never analysed.
    """

    pages: int
    cache: int
    rows: int
    correlation: float | None

    @property
    def rows_per_page(self) -> float:
        """Rows of one page, about; 1 for an empty table."""
        return max(1.0, self.rows / max(1, self.pages))


def heap(connection: Connection, table: sql.Identifier, *, column: str | None) -> Heap:
    """Look at a heap without reading it; `column` is the key's first.

    Nothing here takes longer on a larger table: the first batch waits for it.
    """
    name = sql.Literal(table.as_string())
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(PAGING.heap.beside_parameters(name=name), {"column": column}).fetchone()
    if row is None:
        raise RuntimeError("a regclass that is there has its row in pg_class")
    rows = row["known"]
    if rows is None:
        rows = _sampled(connection, table, row["pages"])
    return Heap(row["pages"], row["cache"], rows, row["correlation"])


def _sampled(connection: Connection, table: sql.Identifier, pages: int) -> int:
    share = min(100.0, 100.0 * _SAMPLED / max(1, pages))
    row = connection.execute(PAGING.sampled.beside_parameters(table=table), {"share": share}).fetchone()
    return round((row[0] if row else 0) * 100.0 / share)
