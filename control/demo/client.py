"""One connection of the demo's application: what it does, and what it was promised for it."""

import itertools
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from control.demo.entries import DeleteEntry, EntityEntry, Journal, Properties, RelationEntry, SharedEntry
from control.demo.holdings import Holdings, Owned
from control.demo.messages import Code, Failure, Settings
from control.demo.meter import Meter
from control.demo.sample import organisation
from control.demo.session import Session, SessionError
from control.demo.session_on_file import FileSession
from control.demo.session_on_server import ServerSession
from sql.errors import TenantryError
from sql.sqlite.connection import is_file

#: Shares of the operations; each is a method of `Client`.
_MIX = {
    "read_entity": 24,
    "read_neighbours": 18,
    "insert_entity": 12,
    "insert_relation": 14,
    "upsert_new": 7,
    "upsert_existing": 7,
    "upsert_shared": 5,
    "update_entity": 9,
    "delete_entity": 4,
}
#: So many upserts in a row go to one shared id: the first meet while it is new, the others find it there.
_SHARED_TIMES = 8
#: A connection that was held up makes up for so many seconds of its pace at most.
_CATCH_UP = 0.5
_RECONNECT_EVERY = 0.2

_NO_DATA = "02000"


class RowNotFoundError(TenantryError):
    """A statement did not touch the one row that must be there: lost, or hidden from the application."""

    def __init__(self, statement: str, row: str, found: int) -> None:
        super().__init__(f"{statement} of {row} found {found} rows instead of 1")


class Deployment:
    """Which code is to run, and which connections run it already."""

    def __init__(self, code: Code, connections: int) -> None:
        self.wanted: Code = code
        self._running: dict[int, Code] = dict.fromkeys(range(connections), code)

    def adopt(self, connection: int, code: Code) -> None:
        """This connection has ended its last operation in the other code."""
        self._running[connection] = code

    def complete(self) -> bool:
        """Whether every connection runs the code that is wanted."""
        return all(code == self.wanted for code in self._running.values())


def connect(settings: Settings, meter: Meter) -> Session:
    """Open a connection of the application.

    Raises:
        SessionError: the server can't be reached, or refuses the login; or there is no such file.
    """
    url = settings.url.get_secret_value()
    return FileSession(url) if is_file(url) else ServerSession(url, meter.retried)


class Client:
    """One connection, its holdings and its journal.

    Args:
        settings: the application's.
        number: the connection's, from 0.
        deployment: says which code to run.
        meter: counts and times over all connections.
        shared: numbers the upserts of shared ids over all connections.
        stop: set when the work is to end.

    Raises:
        SessionError: the server can't be reached, or refuses the login; or there is no such file.
    """

    def __init__(
        self,
        settings: Settings,
        number: int,
        *,
        deployment: Deployment,
        meter: Meter,
        shared: "itertools.count[int]",
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._number = number
        self._deployment = deployment
        self._meter = meter
        self._shared = shared
        self._stop = stop
        self._code: Code = deployment.wanted
        self._choice = random.Random(settings.seed * 1_000 + number)  # noqa: S311  # a repeatable load, no secret
        self._holdings = Holdings(
            number,
            connections=settings.connections,
            entities=settings.entities,
            choice=self._choice,
            deletes=settings.run is None,
        )
        self._serial = itertools.count(1)
        # What was sent and not answered yet, with the entity that it is about.
        self._open: tuple[EntityEntry | RelationEntry | DeleteEntry | SharedEntry, Owned | None] | None = None
        self._session = connect(settings, meter)
        self._journal = Journal(None if settings.run else settings.folder, number)
        self._prefix = f"live-{settings.run}" if settings.run else "live"

    def run(self) -> None:
        """Work at the settings' pace until told to stop; errors are counted and never end it."""
        interval = self._settings.connections / self._settings.rate
        operations = {kind: getattr(self, f"_{kind}") for kind in _MIX}
        weights = list(_MIX.values())
        due = time.monotonic() + interval * self._choice.random()
        try:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due = max(due + interval, time.monotonic() - _CATCH_UP)
                if self._code != self._deployment.wanted:
                    self._code = self._deployment.wanted
                    self._deployment.adopt(self._number, self._code)
                (kind,) = self._choice.choices(list(operations), weights)
                self._meter.begin(self._number)
                try:
                    operations[kind]()
                except RowNotFoundError as error:
                    self._meter.failed(Failure(sqlstate=_NO_DATA, message=str(error)))
                except SessionError as error:
                    self._meter.failed(Failure(sqlstate=error.sqlstate, message=error.message))
                    self._after(error)
                finally:
                    self._meter.end(self._number, kind)
            if self._open is None:
                self._journal.end()
        finally:
            self._journal.close()
            self._session.close()

    def cancel(self) -> None:
        """Cancel the statement under way, from another thread."""
        self._session.cancel()

    def _read_entity(self) -> None:
        entity = self._holdings.any()
        found = len(self._answer("read_entity", entity.org, id=entity.id))
        if found != 1:
            raise RowNotFoundError("read_entity", entity.id, found)

    def _read_neighbours(self) -> None:
        entity = self._holdings.any()
        self._answer("read_neighbours", entity.org, id=entity.id)

    def _insert_entity(self) -> None:
        self._write_new("insert_entity")

    def _upsert_new(self) -> None:
        self._write_new("upsert_entity")

    def _write_new(self, statement: str) -> None:
        near = self._holdings.any()
        entity = Owned(self._new_key("entity"), near.org, near.near)
        self._write_entity(statement, entity)
        self._holdings.add(entity)

    def _upsert_existing(self) -> None:
        self._write_entity("upsert_entity", self._holdings.any())

    def _update_entity(self) -> None:
        self._write_entity("update_entity", self._holdings.any())

    def _upsert_shared(self) -> None:
        number = next(self._shared) // _SHARED_TIMES
        entry = SharedEntry(
            id=f"shared-{number:08d}",
            org=organisation(number),
            properties=self._properties(organisation(number)),
        )
        self._open = entry, None
        self._send_entity("upsert_entity", entry)
        self._keep(entry)

    def _write_entity(self, statement: str, entity: Owned) -> None:
        entry = EntityEntry(id=entity.id, org=entity.org, properties=self._properties(entity.org))
        self._open = entry, entity
        self._send_entity(statement, entry)
        self._keep(entry)

    def _insert_relation(self) -> None:
        source = self._holdings.any()
        target = self._holdings.beside(source)
        if target is None:
            self._insert_entity()
            return
        if self._choice.random() < 0.5:
            source, target = target, source
        entry = RelationEntry(
            id=self._new_key("relation"),
            org=source.org,
            source=source.id,
            target=target.id,
            properties=self._properties(source.org),
            weight=self._choice.randrange(8) / 8,
        )
        self._open = entry, None
        self._send(
            "insert_relation",
            entry.org,
            id=entry.id,
            type="mentions",
            source=entry.source,
            target=entry.target,
            properties=entry.properties,
            weight=entry.weight,
        )
        self._keep(entry)

    def _delete_entity(self) -> None:
        entity = self._holdings.any()
        if not self._holdings.may_delete(entity):
            self._insert_entity()
            return
        self._open = DeleteEntry(id=entity.id, org=entity.org, relations=None), entity
        found, relations = self._session.delete_entity(self._code, {"id": entity.id, "tenant": entity.org})
        if found != 1:
            self._open = None
            raise RowNotFoundError("delete_entity", entity.id, found)
        self._keep(DeleteEntry(id=entity.id, org=entity.org, relations=tuple(relations)))
        self._holdings.remove(entity)

    def _new_key(self, kind: str) -> str:
        return f"{self._prefix}-{kind}-{self._number}-{next(self._serial):08d}"

    def _properties(self, org: str) -> Properties:
        return {
            "org_id": org,
            "name": f"written by connection {self._number}",
            "source": "application",
            "revision": f"{self._number}-{next(self._serial)}",
            "confidence": self._choice.randrange(100) / 100,
        }

    def _send_entity(self, statement: str, entry: EntityEntry | SharedEntry) -> None:
        self._send(statement, entry.org, id=entry.id, type="concept", properties=entry.properties)

    def _send(self, statement: str, org: str, **parameters: Any) -> None:
        """Send a statement that must touch exactly one row."""
        found = self._session.write(self._code, statement, {**parameters, "tenant": org})
        if found != 1:
            self._open = None
            raise RowNotFoundError(statement, str(parameters["id"]), found)

    def _answer(self, statement: str, org: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        return self._session.read(self._code, statement, {**parameters, "tenant": org})

    def _keep(self, entry: EntityEntry | RelationEntry | DeleteEntry | SharedEntry) -> None:
        """Write down what was acknowledged."""
        self._journal.write(entry)
        self._open = None

    def _after(self, error: SessionError) -> None:
        """Go on after an error: taken back if the database said so, in doubt if the connection is lost."""
        if not error.in_doubt:
            self._open = None
            return
        while True:
            self._session.close()
            try:
                self._session = connect(self._settings, self._meter)
                self._look()
            except SessionError:
                if self._stop.wait(_RECONNECT_EVERY):
                    return
            else:
                return

    def _look(self) -> None:
        """Find out what became of the operation whose answer was lost, and write that down instead."""
        match self._open:
            case EntityEntry() as entry, Owned() as entity:
                for (properties,) in self._answer("read_entity", entry.org, id=entry.id):
                    self._keep(entry.model_copy(update={"properties": properties}))
                    if not self._holdings.has(entity):
                        self._holdings.add(entity)
            case RelationEntry() as entry, _:
                if self._answer("read_relation", entry.org, id=entry.id):
                    self._keep(entry)
            case DeleteEntry() as entry, Owned() as entity:
                if not self._answer("read_entity", entry.org, id=entry.id):
                    self._keep(entry)
                    self._holdings.remove(entity)
            case SharedEntry() as entry, _:
                # Another's upsert may have come after ours, or instead of it: the row's value doesn't tell.
                if self._answer("read_entity", entry.org, id=entry.id):
                    self._keep(entry.model_copy(update={"sure": False}))
        self._open = None
