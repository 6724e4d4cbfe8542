"""Old and new code that write all the while: no statement fails, and both sides are the same at the end."""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from tests.integration.separated import TENANTS, THING, differing, separating
from tests.waiting import until

#: The table's name in a statement that has parameters.
_THING = THING.replace("%", "%%")
#: Writes of each code after which a stage has been written beside for long enough.
_ENOUGH = 60


@dataclass
class Writer:
    """A session that inserts, changes, moves and deletes rows of its own; what went wrong is in `error`."""

    url: str
    name: str
    path: str
    tenants: tuple[str, ...]
    written: int = 0
    error: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _there: list[str] = field(default_factory=list)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Write for as long as the context lasts."""
        thread = threading.Thread(target=self._write, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self._stop.clear()
        assert self.error is None

    def goes_on(self) -> None:
        """Wait until it has written some more."""
        before = self.written
        until(lambda: self.error is not None or self.written >= before + _ENOUGH, f"writes of {self.name}")
        assert self.error is None

    def _write(self) -> None:
        choice = random.Random(f"{self.name} {os.environ.get('SEED', '1')}")
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(f"SET search_path = {self.path}")
                while not self._stop.is_set():
                    self._one(connection, choice)
                    self.written += 1
        except psycopg.Error as error:
            self.error = str(error)

    def _one(self, connection: psycopg.Connection, choice: random.Random) -> None:
        what = choice.choice(("insert", "insert", "change", "move", "rename", "delete", "several"))
        tenant = choice.choice(self.tenants)
        if what == "insert" or not self._there:
            id_ = f"{self.name} {self.written}"
            with connection.transaction():
                connection.execute("INSERT INTO entity (id, org) VALUES (%s, %s)", [id_, tenant])
                connection.execute("INSERT INTO relation (source, target) VALUES (%s, %s)", [id_, id_])
                if choice.random() < 0.3:
                    connection.execute(f"INSERT INTO {_THING} (owner, name) VALUES (%s, 'thing')", [id_])
            self._there.append(id_)
            return
        id_ = choice.choice(self._there)
        match what:
            case "change":
                connection.execute("UPDATE entity SET name = name || 'x' WHERE id = %s", [id_])
            case "move":
                connection.execute("UPDATE entity SET org = %s WHERE id = %s", [tenant, id_])
            case "rename" if not self._owns(connection, id_):
                with connection.transaction():
                    connection.execute("DELETE FROM relation WHERE source = %s", [id_])
                    connection.execute("UPDATE entity SET id = id || '''' WHERE id = %s", [id_])
                self._there[self._there.index(id_)] = f"{id_}'"
            case "delete" if not self._owns(connection, id_):
                connection.execute("DELETE FROM entity WHERE id = %s", [id_])
                self._there.remove(id_)
            case _:
                connection.execute(
                    f"UPDATE {_THING} SET amount = amount + 1 WHERE owner LIKE %s", [f"{id_}%"]
                )

    @staticmethod
    def _owns(connection: psycopg.Connection, id_: str) -> bool:
        return connection.execute(f"SELECT FROM {_THING} WHERE owner = %s", [id_]).rowcount > 0


@pytest.mark.full  # a writer that never rests lets nobody at its tables at once: half a minute
@pytest.mark.timeout(600)
def test_both_sides_are_the_same_whatever_was_written_meanwhile(
    database: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    migration = separating(database, valkey.url, postgres)
    migration.to("backfill")
    old = Writer(database, "old", "public", TENANTS)
    new = Writer(database, "new", "tenant_acme, public", ("acme",))
    with old.at_work():
        old.goes_on()
        migration.to("schemas")
        with new.at_work():
            old.goes_on()
            new.goes_on()
            migration.to("application")
    assert differing(migration) == []
    with new.at_work():
        migration.to("switch")
        new.goes_on()
        migration.to("verify")
        new.goes_on()
        migration.back("application")
        new.goes_on()
        with old.at_work():
            old.goes_on()
    assert differing(migration) == []
    migration.back(None)
