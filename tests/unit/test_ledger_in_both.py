"""The ledger's statements have the same names for both databases."""

from pathlib import Path

import pytest

import sql.postgres
import sql.sqlite
from sql.ledger import UPGRADE
from sql.named import load
from worker.version import VERSION

#: What only a queue, sessions of a server and their rights, or assignments that lock rows need.
_OF_POSTGRES_ALONE = {
    "ledger": set[str](),
    "upgrade": set[str](),
    "jobs": {"ring", "unring", "idle_seconds", "slice", "interrupted"},
    "holds": {"blockers", "rights"},
}
#: A server's JSON is always some.
_OF_SQLITE_ALONE = {
    "ledger": {"garbled"},
    "upgrade": set[str](),
    "jobs": {"due", "done"},
    "holds": set[str](),
}


@pytest.mark.parametrize("file", ["ledger", "upgrade", "jobs", "holds"])
def test_each_statement_of_the_ledger_is_there_for_both_databases(file: str) -> None:
    of_postgres = {each.name for each in load(Path(sql.postgres.__file__).parent, file)}
    of_sqlite = {each.name for each in load(Path(sql.sqlite.__file__).parent, file)}
    assert of_postgres - of_sqlite == _OF_POSTGRES_ALONE[file]
    assert of_sqlite - of_postgres == _OF_SQLITE_ALONE[file]


def test_there_is_a_statement_that_takes_the_ledger_to_each_version() -> None:
    to = {each.name for each in UPGRADE if each.name.startswith("to_")}
    assert to == {f"to_{number}" for number in range(2, VERSION + 1)}
