"""An application of another process writes throughout, and neither fails nor loses a write."""

import multiprocessing
import sqlite3
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sqlite.keyed import graph, ways


def _application(path: Path, ended: Event, told: Connection) -> None:
    """Write in single statements and IMMEDIATE transactions until told to end; tell what was acknowledged."""
    rows: dict[str, Any] = {}
    errors: list[str] = []
    with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as opened:
        opened.execute("PRAGMA foreign_keys = ON")
        number = 0
        while not ended.wait(0.004) or number < 50:  # what an application does between two writes
            number += 1
            key, tenant = f"new{number % 37}", f"org{number % 37 % 3}"
            try:
                if number % 5 == 0:
                    opened.execute("DELETE FROM entities WHERE id = ?", (key,))
                    rows[key] = None
                elif number % 3 == 0:
                    opened.execute("BEGIN IMMEDIATE")
                    opened.execute("UPDATE entities SET entity_type = ? WHERE id = ?", (str(number), key))
                    opened.execute("UPDATE entities SET entity_type = entity_type WHERE id = 'e1'")
                    opened.execute("COMMIT")
                    rows[key] = None if rows.get(key) is None else str(number)
                else:
                    opened.execute(
                        "INSERT OR REPLACE INTO entities (id, entity_type, tenant_id) VALUES (?, ?, ?)",
                        (key, str(number), tenant),
                    )
                    rows[key] = str(number)
            except sqlite3.Error as error:
                errors.append(f"{number}: {error}")
    told.send((rows, errors))


@pytest.mark.parametrize("online", [False, True], ids=["at once", "beside writers"])
def test_no_write_fails_and_every_acknowledged_one_is_there(tmp_path: Path, *, online: bool) -> None:
    there = graph(tmp_path, 1_000)
    there.fill()
    forking = multiprocessing.get_context("fork")
    ended = forking.Event()
    here, other = forking.Pipe(duplex=False)
    application = forking.Process(target=_application, args=(there.path, ended, other))
    application.start()
    with ways(online=online):
        there.run("keys")
        there.rollback("application")
        there.run("keys")
    ended.set()
    rows, errors = here.recv()
    application.join()
    assert not errors
    assert rows
    now = dict(there.ask("SELECT id, entity_type FROM entities WHERE id GLOB 'new*'"))
    assert now == {key: value for key, value in rows.items() if value is not None}
    assert there.is_sound()
    assert not there.ours()
