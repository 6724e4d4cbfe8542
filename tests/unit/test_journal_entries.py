"""The journal's files."""

from pathlib import Path

import pytest

from control.demo.entries import (
    DeleteEntry,
    EndEntry,
    EntityEntry,
    Entry,
    Journal,
    RelationEntry,
    SharedEntry,
    read,
)
from sql.errors import GivenWrongError


def test_what_was_written_is_read_in_its_order_by_connection(tmp_path: Path) -> None:
    entries: list[Entry] = [
        EntityEntry(id="a", org="org-01", properties={"org_id": "org-01", "n": 1.5}),
        RelationEntry(id="r", org="org-01", source="a", target="b", properties={}, weight=0.25),
        DeleteEntry(id="a", org="org-01", relations=("r",)),
        DeleteEntry(id="b", org="org-01", relations=None),
        SharedEntry(id="s", org="org-02", properties={"ü": "é"}, sure=False),
    ]
    journals = [Journal(tmp_path, number) for number in range(2)]
    for entry in entries:
        journals[1].write(entry)
    for journal in journals:
        journal.end()
        journal.close()
    assert read(tmp_path) == [[EndEntry()], [*entries, EndEntry()]]


def test_an_entry_is_in_the_file_before_the_journal_is_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    entry = DeleteEntry(id="a", org="org-01", relations=())
    journal.write(entry)
    assert read(tmp_path) == [[entry]]
    journal.close()


def test_a_second_application_does_not_write_into_the_journal_of_a_first(tmp_path: Path) -> None:
    Journal(tmp_path, 0).close()
    with pytest.raises(FileExistsError):
        Journal(tmp_path, 0)


def test_a_line_that_is_no_entry_is_named_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "connection-0.jsonl").write_text('{"op":"end"}\n{"op":"delete"', encoding="utf-8")
    with pytest.raises(GivenWrongError, match=r"connection-0\.jsonl:2: not a journal entry"):
        read(tmp_path)


def test_a_folder_without_a_journal_is_an_error_and_not_an_empty_journal(tmp_path: Path) -> None:
    with pytest.raises(GivenWrongError, match="holds no journal"):
        read(tmp_path)
