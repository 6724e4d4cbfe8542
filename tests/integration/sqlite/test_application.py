"""The demo's application on a SQLite file, and the check of what it was promised."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from control.demo import journal, sample_file
from control.demo.application_process import ApplicationEndedError, ApplicationProcess
from control.demo.entries import DeleteEntry, read
from tests.integration.sqlite import graph
from tests.integration.test_application import work


def with_tenants(path: Path) -> None:
    """What a migration comes to, by statements of the test's own; old code finds no unique id then."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            ALTER TABLE entities ADD COLUMN tenant_id TEXT;
            ALTER TABLE relations ADD COLUMN tenant_id TEXT;
            UPDATE entities SET tenant_id = json_extract(properties, '$.org_id');
            UPDATE relations SET tenant_id = (SELECT tenant_id FROM entities WHERE id = source_id);
            CREATE UNIQUE INDEX both ON entities (id, tenant_id);
            """
        )


def test_the_old_code_works_without_an_error_and_keeps_what_it_was_promised(tmp_path: Path) -> None:
    path = graph.made(tmp_path)
    with ApplicationProcess(graph.settings(path)) as application:
        work(application, 300)
        final = application.stop()
    assert (final.errors, final.last_error) == (0, None)
    assert len(final.by_kind) == 9, "every kind of operation"
    assert graph.broken(path) == []


def test_an_address_that_is_no_file_ends_it_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ApplicationEndedError, match="unable to open"):
        ApplicationProcess(graph.settings(tmp_path / "graph.db"))


def test_a_writer_that_stays_for_longer_than_the_busy_timeout_is_an_error_of_the_application(
    tmp_path: Path,
) -> None:
    path = graph.made(tmp_path)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        ApplicationProcess(graph.settings(path)) as application,
    ):
        work(application, 50)
        other.execute("BEGIN IMMEDIATE")
        work(application, 5)
        while application.latest is None or not application.latest.errors:
            work(application, 1)
        other.execute("ROLLBACK")
        final = application.stop()
    assert set(final.by_sqlstate) == {"55P03"}
    assert final.worst_ms >= 5_000
    assert graph.broken(path) == []


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with tenants on which the new code has worked."""
    path = graph.made(tmp_path_factory.mktemp("worked"))
    with_tenants(path)
    with ApplicationProcess(graph.settings(path, rate=600, code="new")) as application:
        work(application, 600)
        final = application.stop()
    assert (final.errors, final.last_error) == (0, None)
    return path


@pytest.fixture
def breakable(worked: Path) -> Iterator[sqlite3.Connection]:
    """A connection to break something with; the file is put back afterwards."""
    held = worked.read_bytes()
    with closing(sqlite3.connect(worked, isolation_level=None)) as connection:
        yield connection
    for left in worked.parent.glob(f"{worked.name}-*"):
        left.unlink()
    worked.write_bytes(held)


def failing(worked: Path, tenant_column: str | None = "tenant_id") -> set[str]:
    return {check.name for check in graph.broken(worked, tenant_column)}


LONELY = """
  (SELECT e.id FROM entities AS e
   WHERE e.id LIKE '{kind}-%'
     AND NOT EXISTS (SELECT 1 FROM relations AS r WHERE e.id IN (r.source_id, r.target_id))
   LIMIT 1)
"""
LAST_OF_SAMPLE = "(SELECT max(id) FROM relations WHERE id LIKE 'relation-%')"


@pytest.mark.parametrize("tenant_column", ["tenant_id", None])
def test_nothing_is_found_where_everything_is_as_it_was_promised(
    worked: Path, tenant_column: str | None
) -> None:
    assert failing(worked, tenant_column) == set()


@pytest.mark.parametrize(
    ("breaking", "found"),
    [
        (f"DELETE FROM entities WHERE id = {LONELY.format(kind='live')}", "entities there"),
        (f"DELETE FROM entities WHERE id = {LONELY.format(kind='shared')}", "shared entities"),
        (
            (
                "UPDATE entities SET properties = json_set(properties, '$.revision', 0) "
                "WHERE id = (SELECT min(id) FROM entities WHERE id LIKE 'live-%')"
            ),
            "entity values",
        ),
        (
            (
                "UPDATE entities SET properties = json_set(properties, '$.org_id', 'org-50') "
                "WHERE id = (SELECT min(id) FROM entities WHERE properties NOT LIKE '%revision%')"
            ),
            "entity values",
        ),
        (
            (
                "UPDATE entities SET properties = json_set(properties, '$.revision', 0) "
                f"WHERE id = {LONELY.format(kind='shared')}"
            ),
            "shared entities",
        ),
        (f"DELETE FROM relations WHERE id = {LAST_OF_SAMPLE}", "relations there"),
        (
            (
                "UPDATE relations SET weight = 17 "
                "WHERE id = (SELECT min(id) FROM relations WHERE id LIKE 'live-%')"
            ),
            "relation values",
        ),
        (f"UPDATE relations SET target_id = source_id WHERE id = {LAST_OF_SAMPLE}", "relation values"),
        ("INSERT INTO entities (id, tenant_id, entity_type) VALUES ('a', 'org-00', 'b')", "totals"),
        (f"UPDATE entities SET tenant_id = 'x' WHERE id = {LONELY.format(kind='live')}", "tenants"),
        (f"UPDATE entities SET tenant_id = 'x' WHERE id = {LONELY.format(kind='shared')}", "tenants"),
    ],
)
def test_one_broken_row_is_found_by_its_check_and_by_no_other(
    breakable: sqlite3.Connection, worked: Path, breaking: str, found: str
) -> None:
    assert breakable.execute(breaking).rowcount == 1
    assert failing(worked) == {found}


def test_a_deleted_entity_that_is_back_is_found(breakable: sqlite3.Connection, worked: Path) -> None:
    gone = next(
        entry
        for entries in read(worked.parent / "journal")
        for entry in entries
        if isinstance(entry, DeleteEntry)
    )
    breakable.execute(
        "INSERT INTO entities (id, tenant_id, entity_type) VALUES (?, ?, 'person')", (gone.id, gone.org)
    )
    assert failing(worked) == {"deletes"}


@pytest.mark.parametrize(("entities", "relations"), [(600, 1200), (617, 2_801), (600, 99)])
def test_the_file_s_formulas_are_those_of_the_sample(tmp_path: Path, entities: int, relations: int) -> None:
    """The check works each row out by formulas of its own; an empty journal leaves all to them."""
    path = tmp_path / "graph.db"
    sample_file.make(path, entities=entities, relations=relations)
    with graph.opened(path) as file:
        folder = tmp_path / "journal"
        folder.mkdir()
        (folder / "connection-0.jsonl").write_text('{"op": "end"}\n')

        result = journal.check(file, folder, entities=entities, relations=relations, tenant_column=None)
    assert [check for check in result.checks if not check.ok] == []
