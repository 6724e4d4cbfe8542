"""What rows and bytes of a SQLite file cost, by what is done with them; measured on two cores, SQLite 3.40.

On tables of 1 million rows in 113 MB and of 500,000 rows in 276 MB, each statement alone on a file in WAL
mode that the operating system had in memory: for the copy 1.1 and 1.3 s, for an index 0.2 to 0.8 s, for
DROP TABLE less than 0.1 s, for DROP COLUMN 0.1 to 0.9 s, for the update of every row 1.7 and 1.1 s.
"""

from sql.sqlite.preflight import Size

#: Seconds of a statement that writes the schema alone.
STATEMENT = 0.005
#: Of one that reads a few rows again and exchanges tables in the schema.
SWITCH = 0.05
#: Seconds per row and per byte of what is read, counted and compared.
_READ, _READ_BYTE = 0.5e-6, 1 / 1e9
#: Of a row that a batch updates, its share of the ledger among them.
_FILL, _FILL_BYTE = 2e-6, 1 / 400e6
#: Of a row that is copied into a new table.
_COPY, _COPY_BYTE = 0.6e-6, 1 / 300e6
#: Of an entry of an index, for itself and for each of its columns.
_ENTRY, _ENTRY_COLUMN = 0.15e-6, 0.3e-6
#: Of what is dropped: its pages are only put on a list.
_DROP_BYTE = 1 / 2e9
#: Of a table that loses a column.
_DROP_COLUMN, _DROP_COLUMN_BYTE = 0.5e-6, 1 / 400e6
#: How often preflight and verify read what they look at; a run has two looks before its first step.
LOOKS, VERIFIES = 9, 4
#: How much longer copy, indexes and comparison take in batches, with gaps for others between them.
BATCHED = 2.5
#: Bytes of a tenant's name in a row, and of an index's entry beside its columns, each of about so many.
TENANT, _OF_ENTRY, _OF_COLUMN = 8, 4, 12
#: By how much of its size a table grows whose rows get a tenant: pages that were full are split.
GROWTH = 0.15


def read(size: Size) -> float:
    """Seconds in which a table is read and its rows are compared."""
    return size.rows * _READ + (size.bytes_ + size.index_bytes) * _READ_BYTE


def fill(size: Size) -> float:
    """Seconds in which every row gets its tenant, in batches."""
    return size.rows * _FILL + size.bytes_ * _FILL_BYTE


def copy(size: Size) -> float:
    """Seconds in which a table's rows get into a new one, without its indexes."""
    return size.rows * _COPY + size.bytes_ * _COPY_BYTE


def index(size: Size, columns: int) -> float:
    """Seconds of CREATE INDEX."""
    return size.rows * (_ENTRY + _ENTRY_COLUMN * columns) + size.bytes_ * _READ_BYTE


def index_bytes(size: Size, columns: int) -> int:
    """Bytes of an index."""
    return size.rows * (_OF_ENTRY + _OF_COLUMN * columns)


def drop(size: Size) -> float:
    """Seconds of DROP TABLE, which takes its indexes along."""
    return STATEMENT + (size.bytes_ + size.index_bytes) * _DROP_BYTE


def drop_column(size: Size) -> float:
    """Seconds of DROP COLUMN, which writes every row again."""
    return size.rows * _DROP_COLUMN + size.bytes_ * _DROP_COLUMN_BYTE
