"""What SQLite's check of a file finds wrong is told, and nothing that is right."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sql.sqlite.integrity import faults
from tests.integration.sqlite.graph import opened

_TABLE = (
    'CREATE TABLE "a t" (note BLOB, n INTEGER {refusing}, k TEXT NOT NULL, PRIMARY KEY (k)) WITHOUT ROWID'
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with rows whose key is not in the first column."""
    with closing(sqlite3.connect(tmp_path / "file.db")) as connection:
        connection.execute(_TABLE.format(refusing="NOT NULL"))
        connection.execute('CREATE INDEX by_n ON "a t" (n)')
        connection.execute("CREATE TABLE other (n)")
        connection.executemany("INSERT INTO \"a t\" VALUES (NULL, ?, 'k' || ?)", [(n, n) for n in range(300)])
        connection.commit()
    return tmp_path / "file.db"


def changed(path: Path, *statements: str) -> None:
    """Write what SQLite would not: by the schema's own text."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("table", [None, "a t"])
def test_a_whole_file_has_no_faults_wherever_its_key_s_columns_are(path: Path, table: str | None) -> None:
    with opened(path) as file:
        assert faults(file, most=5, table=table) == []
        assert faults(file, most=5, quick=True) == []


@pytest.mark.parametrize("table", [None, "a t", "other"])
def test_an_index_that_does_not_fit_is_told_though_each_row_is_told_wrongly_before(
    path: Path, table: str | None
) -> None:
    changed(
        path, "UPDATE sqlite_schema SET sql = 'CREATE INDEX by_n ON \"a t\" (n DESC)' WHERE name = 'by_n'"
    )
    with opened(path) as file:
        found = faults(file, most=5, table=table)
    assert (len(found) == 5) == (table != "other")


def test_a_null_that_is_refused_is_told(path: Path) -> None:
    loose = _TABLE.format(refusing="").replace("'", "''")
    changed(path, f"UPDATE sqlite_schema SET sql = '{loose}' WHERE name = 'a t'")
    changed(path, "UPDATE \"a t\" SET n = NULL WHERE k = 'k7'")
    strict = _TABLE.format(refusing="NOT NULL").replace("'", "''")
    changed(path, f"UPDATE sqlite_schema SET sql = '{strict}' WHERE name = 'a t'")
    with opened(path) as file:
        assert "NULL value in a t.n" in faults(file, most=5)
