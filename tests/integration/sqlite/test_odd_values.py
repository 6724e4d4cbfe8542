"""Values that SQL writes in no plain way come through every stage as they are."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from control.cli import main
from control.conductor import confirm
from sql.sqlite.connection import connect
from tests.integration.sqlite.keyed import GRAPH, GRAPH_PLAN, World, ways, world
from tests.integration.typist import typed

STRICT = """
CREATE TABLE things (id ANY PRIMARY KEY, v ANY) STRICT;
CREATE INDEX things_v ON things (v DESC) WHERE v IS NOT NULL;
"""
STRICT_PLAN = """
[[tables]]
name = "things"
tenant = { constant = "acme" }
primary_key = ["id", "tenant_id"]
"""


@pytest.fixture(autouse=True)
def online() -> Iterator[None]:
    """Every table takes the way beside writers, and its indexes go in entry by entry."""
    with ways(online=True):
        yield


def test_values_of_an_any_column_of_a_strict_table_are_in_its_index_as_they_are(tmp_path: Path) -> None:
    values: list[list[object]] = [["1", "1"], [1, 1], [2, "2.0"], ["x", b"1"]]
    there = world(tmp_path, STRICT, STRICT_PLAN, rows={"things": values})
    there.fill()
    there.run("keys")
    assert there.is_sound()
    found = there.ask("SELECT id FROM things INDEXED BY things_v WHERE v IS NOT NULL AND v = '1'")
    assert found == [("1",)]


@pytest.mark.parametrize(
    ("declared", "keys"),
    [
        ("TEXT", ["a\0b", "a\0c", "a", "b\0"]),
        ("REAL", [float("-inf"), 0.1, 5e-324, float("inf")]),
    ],
    ids=["a NUL", "infinity"],
)
def test_a_key_that_sql_writes_in_no_plain_way_pages_a_table_without_rowid(
    tmp_path: Path, declared: str, keys: list[object]
) -> None:
    there = world(
        tmp_path,
        f"CREATE TABLE things (id {declared} PRIMARY KEY, org TEXT) WITHOUT ROWID",
        STRICT_PLAN.replace('constant = "acme"', 'expression = "org"'),
        rows={"things": [(key, "acme") for key in keys]},
    )
    rows = "SELECT id, hex(id), org FROM things ORDER BY id"
    were = there.ask(rows)
    there.fill()
    there.run()
    assert there.ask(rows) == were
    there.rollback()
    assert there.ask(rows) == were
    assert there.is_sound()


def test_a_text_that_is_no_utf_8_is_looked_at_like_any_other(tmp_path: Path) -> None:
    there = world(tmp_path, GRAPH, GRAPH_PLAN, rows={"entities": [("e", "t", "acme")]})
    with closing(there.connect()) as opened:
        opened.execute("UPDATE entities SET entity_type = CAST(x'c8ff' AS TEXT)")
    there.run("indexes")
    with connect(f"sqlite:///{there.path}") as file:
        confirm(there.plan, file, "application")
    there.run()
    assert there.ask("SELECT hex(entity_type), tenant_id FROM entities") == [("C8FF", "acme")]


def _of_keys_that_are_no_utf_8(folder: Path, org: str = "'acme'") -> tuple[World, Callable[..., int]]:
    """Rows by a key of two columns, most of which are no UTF-8; and what gives a command on them."""
    there = world(
        folder,
        "CREATE TABLE things (at TEXT, id TEXT, org TEXT, PRIMARY KEY (at, id)) WITHOUT ROWID",
        STRICT_PLAN.replace('constant = "acme"', 'expression = "org"').replace('["id"', '["at", "id"')
        + f'[backup]\npath = "{folder}/copy.db"\n[backfill]\nfirst_batch = 100\n',
    )
    texts = ("c328", "c3a9", "eda080", "61", *(f"ff{at:02x}" for at in range(121)))
    keys = [f"CAST(x'{text}' AS TEXT)" for text in texts]
    rows = [f"({first}, {key}, {org})" for key in keys for first in (key, "''")]
    there.ask(f"INSERT INTO things VALUES {', '.join(rows)}")

    def command(*given: str) -> int:
        return main([*given, "--file", str(folder / "migration.toml")])

    return there, command


def test_a_key_that_is_no_utf_8_comes_through_every_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there, command = _of_keys_that_are_no_utf_8(tmp_path)
    rows = "SELECT at, id, org FROM things"
    were = there.ask(rows)
    assert command("check") == 0
    assert command("backup") == 0
    assert command("run") == 3
    assert command("confirm", "application") == 0
    assert command("run") == 0
    assert command("verify") == 0
    assert "of 50 looked at, 50 are the same in every column" in capfd.readouterr().out
    assert command("tenants", "assign", "other", "--from", "acme", "--where", "at <> ''", "--yes") == 0
    assert there.ask("SELECT DISTINCT tenant_id FROM things WHERE at <> ''") == [("other",)]
    assert command("tenants", "assign", "--undo", "--yes") == 0
    assert there.ask("SELECT DISTINCT tenant_id FROM things") == [("acme",)]
    assert command("rollback", "--yes") == 0
    assert there.ask(rows) == were
    assert there.is_sound()


@pytest.mark.parametrize(
    ("org", "found"),
    [("NULL", "have none, such as "), ("CAST(x'ff' AS TEXT)", "would belong to '\\udcff'")],
    ids=["none", "no UTF-8"],
)
def test_a_row_without_a_proper_tenant_is_named_by_its_key_that_is_no_utf_8(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], org: str, found: str
) -> None:
    _, command = _of_keys_that_are_no_utf_8(tmp_path, org)
    checked = typed(["check"], folder=tmp_path, environment=os.environ)  # pytest's own stdout takes any text
    assert checked.returncode == 0, checked.stderr
    assert f"rows {found}" in checked.stdout
    assert command("run") == 4
    capfd.readouterr()
    assert command("quarantine", "--json") == 0
    keys = [row["key"] for row in json.loads(capfd.readouterr().out)["rows"]]
    assert {"at": "CAST(x'FF01' AS TEXT)", "id": "CAST(x'FF01' AS TEXT)"} in keys
    assert {"at": "''", "id": "'é'"} in keys
    assert len(keys) == 250


def test_a_tenant_that_is_no_utf_8_is_shown_and_is_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there, command = _of_keys_that_are_no_utf_8(tmp_path)
    there.fill()
    there.run()
    there.ask("UPDATE things SET tenant_id = CAST(x'ff' AS TEXT) WHERE at = ''")
    capfd.readouterr()
    assert command("tenants", "list", "--json") == 0
    assert {one["tenant"] for one in json.loads(capfd.readouterr().out)} == {"acme", "\\udcff"}
    assert command("verify") == 1
    assert "125 rows of other tenants, such as '\\udcff'" in capfd.readouterr().out
    assert command("rollback", "--yes") == 0
