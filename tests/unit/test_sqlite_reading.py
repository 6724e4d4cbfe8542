"""What the schema's own statements say that no PRAGMA does."""

import pytest

from sql.sqlite import reading


@pytest.mark.parametrize(
    ("statement", "kind", "columns"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END", "insert", ()),
        ("create trigger t delete on a begin select 1; end", "delete", ()),
        ('CREATE TRIGGER t UPDATE OF x, "y z" ON a BEGIN SELECT 1; END', "update", ("x", "y z")),
        ("CREATE TRIGGER t /* DELETE */ BEFORE UPDATE ON a BEGIN DELETE FROM b; END", "update", ()),
        (
            'CREATE TRIGGER IF NOT EXISTS main."insert" INSTEAD OF DELETE ON v BEGIN SELECT 1; END',
            "delete",
            (),
        ),
        ('CREATE TRIGGER "update" AFTER INSERT ON a BEGIN SELECT 1; END', "insert", ()),
    ],
)
def test_what_fires_a_trigger(statement: str, kind: str, columns: tuple[str, ...]) -> None:
    assert reading.event(statement) == reading.Event(kind, columns)


def test_an_update_of_named_columns_fires_for_those_alone() -> None:
    event = reading.event("CREATE TRIGGER t UPDATE OF Tenant_ID ON a BEGIN SELECT 1; END")
    assert event.fires_on_update_of("tenant_id")
    assert not event.fires_on_update_of("other")


def test_what_is_no_trigger_is_refused() -> None:
    with pytest.raises(ValueError, match="no trigger"):
        reading.event("CREATE TABLE a (x)")


def test_what_a_trigger_updates_is_read_from_its_body() -> None:
    statement = (
        'CREATE TRIGGER t UPDATE ON a BEGIN UPDATE b SET x = 1; UPDATE OR IGNORE "C" SET x = 1; '
        "INSERT INTO d VALUES ('UPDATE e'); END"
    )
    assert reading.updated(statement) == {"b", "c"}


def test_collations_are_read_wherever_they_stand() -> None:
    statement = "CREATE TABLE a (x TEXT COLLATE odd, y CHECK (y COLLATE \"no case\" = 'COLLATE z'))"
    assert list(reading.collations(statement)) == ["odd", "no case"]


@pytest.mark.parametrize(
    ("statement", "module", "content"),
    [
        ("CREATE VIRTUAL TABLE f USING fts5(x, content='entities', content_rowid='id')", "fts5", "entities"),
        ('CREATE VIRTUAL TABLE f USING FTS4(content="entities", x)', "fts4", "entities"),
        ("CREATE VIRTUAL TABLE f USING fts5(x, content = entities)", "fts5", "entities"),
        ("CREATE VIRTUAL TABLE f USING fts5(x, content='')", "fts5", None),
        ("CREATE VIRTUAL TABLE r USING rtree(id, a, b)", "rtree", None),
    ],
)
def test_a_virtual_table_says_what_it_is_and_what_it_reads(
    statement: str, module: str, content: str | None
) -> None:
    assert (reading.module(statement), reading.content(statement)) == (module, content)
