"""The composite keys of a file's tables: there and back."""

from pathlib import Path

import pytest

from tests.integration.sqlite.keyed import graph, ways


@pytest.mark.parametrize("online", [False, True], ids=["at once", "beside writers"])
def test_keys_have_the_tenant_in_them_and_on_the_way_back_the_schema_is_as_it_was(
    tmp_path: Path, *, online: bool
) -> None:
    there = graph(tmp_path)
    before, rows = there.schema(), there.ask("SELECT rowid, * FROM relations ORDER BY rowid")
    with ways(online=online):
        there.fill()
        filled = there.schema()
        there.run("keys")
        assert there.is_sound()
        assert not there.ours()
        assert there.ask("SELECT name FROM pragma_table_info('entities') WHERE pk ORDER BY pk") == [
            ("id",),
            ("tenant_id",),
        ]
        assert there.ask(
            'SELECT "table", "from", "to", on_delete FROM pragma_foreign_key_list(\'relations\') '
            "ORDER BY id, seq"
        ) == [
            ("entities", "target_id", "id", "NO ACTION"),
            ("entities", "tenant_id", "tenant_id", "NO ACTION"),
            ("entities", "source_id", "id", "CASCADE"),
            ("entities", "tenant_id", "tenant_id", "CASCADE"),
        ]
        assert (
            there.ask("SELECT rowid, id, source_id, target_id, weight FROM relations ORDER BY rowid") == rows
        )
        there.rollback("application")
        assert there.schema() == filled
        assert there.is_sound()
        there.run("keys")
        there.rollback()
    assert there.schema() == before
    assert there.ask("SELECT rowid, * FROM relations ORDER BY rowid") == rows
    assert not there.ask("SELECT name FROM sqlite_schema WHERE name GLOB 'tenantry*'")
