"""The application beside what is measured: rows read and updated by key at a fixed rate, and what it felt.

An open loop. When an operation is due is fixed beforehand, whatever became of those before it, and its
latency counts from then: who is held up for a second is not asked less in that second, and every operation
that was due meanwhile tells of it.
"""

import itertools
import math
import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection as Pipe
from typing import Literal

import psycopg

from control.demo import sample
from tests.waiting import until

#: Operations a second over all connections: modest, so that the machine has room for them beside the rest.
RATE, CONNECTIONS = 200, 8
#: Operations that are due in an application's first seconds pay for its connections' first statements.
WARM_UP = 1.0

#: What the application runs: on `big`, or on the sample graph before and after it knows tenants.
Code = Literal["big", "graph", "graph with tenants", "graph of one tenant"]

#: The tenant of a graph that has one.
LEGACY = "legacy_default"

_SCOPE = "SELECT set_config('app.current_tenant_id', %(tenant)s, true)"

_SCOPED: Sequence[tuple[str, str]] = tuple(
    (of, f"{statement} WHERE id = %(id)s AND tenant_id = %(tenant)s")
    for of, statement in (
        ("entity", "SELECT properties FROM graph_entities"),
        ("entity", "UPDATE graph_entities SET updated_at = now()"),
        ("relation", "SELECT properties FROM graph_relations"),
        ("relation", "UPDATE graph_relations SET updated_at = now()"),
    )
)

#: Half of the operations read, half update, each table as often. No update touches an indexed column: what
#: the row's own indexes cost is not what is measured.
_STATEMENTS: Mapping[Code, Sequence[tuple[str, str]]] = {
    "big": (
        ("entity", "SELECT payload FROM big WHERE id = %(id)s"),
        ("entity", "UPDATE big SET created_at = now() WHERE id = %(id)s"),
    ),
    "graph": (
        ("entity", "SELECT properties FROM graph_entities WHERE id = %(id)s"),
        ("entity", "UPDATE graph_entities SET updated_at = now() WHERE id = %(id)s"),
        ("relation", "SELECT properties FROM graph_relations WHERE id = %(id)s"),
        ("relation", "UPDATE graph_relations SET updated_at = now() WHERE id = %(id)s"),
    ),
    "graph with tenants": _SCOPED,
    "graph of one tenant": _SCOPED,
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: when it was due, in the epoch's seconds, the seconds from then to its end, its error."""

    due: float
    latency: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Felt:
    """What the application felt: its operations in the order in which they were due."""

    operations: tuple[Operation, ...]

    def between(self, begun: float, ended: float) -> "Felt":
        """What was due from `begun` to before `ended`.

        Raises:
            AssertionError: nothing was, and nothing is no measurement.
        """
        within = tuple(operation for operation in self.operations if begun <= operation.due < ended)
        assert within, "the application had nothing to do meanwhile"
        return Felt(within)

    def percentile(self, share: float) -> float:
        """The latency, in seconds, that a share of the operations did not pass: one that was measured."""
        ordered = sorted(operation.latency for operation in self.operations)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    @property
    def longest(self) -> float:
        """The longest stall: the highest latency, in seconds."""
        return max(operation.latency for operation in self.operations)

    @property
    def errors(self) -> tuple[str, ...]:
        """What failed, an entry for each operation."""
        return tuple(operation.error for operation in self.operations if operation.error is not None)


class Schedule:
    """When operations are due: the n-th is `n / rate` seconds after the start, for whoever takes it."""

    def __init__(self, rate: float, begun: float) -> None:
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._rate, self._begun = rate, begun

    def take(self) -> float:
        """The next operation that nobody has taken: when it is due."""
        with self._lock:
            return self._begun + next(self._numbers) / self._rate


def paced(
    schedule: Schedule,
    ended: Callable[[], float],
    rest: Callable[[float], object],
    send: Callable[[], str | None],
) -> Iterator[Operation]:
    """One connection's operations, one after the other, until one is due after `ended()`.

    Every operation due before then is done, however late: one that waits behind a stall is what it cost.
    `send` does one and gives its error; `rest` waits so many seconds, or less where `ended()` has changed.
    """
    while (due := schedule.take()) < ended():
        while (early := due - time.monotonic()) > 0 and due < ended():
            rest(early)
        if due >= ended():
            return
        error = send()
        yield Operation(due, time.monotonic() - due, error)


class _Client:
    """One connection: what it sends, by the code that is wanted at that moment."""

    def __init__(self, url: str, rows: int, code: Callable[[], Code], number: int) -> None:
        self._url, self._rows, self._code = url, rows, code
        self._choice = random.Random(number)
        self.running = code()
        self._connection = self._connect()

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._url, autocommit=True, application_name="application", connect_timeout=10)

    def send(self) -> str | None:
        """Send one operation once, and no second time; its error."""
        self.running = self._code()
        of, statement = self._choice.choice(_STATEMENTS[self.running])
        try:
            if self._connection.closed:
                self._connection = self._connect()
            found = self._execute(statement.encode(), self._parameters(of))
        except psycopg.Error as error:
            return f"{error.sqlstate or '08006'}: {str(error).splitlines()[0]}"
        return None if found == 1 else f"{found} rows instead of 1: {statement}"

    def _parameters(self, of: str) -> dict[str, str]:
        number = self._choice.randint(1, self._rows)
        if of == "entity":
            return {"id": sample.entity_key(number), "tenant": self._tenant(number)}
        relation = 2 * number - self._choice.randint(0, 1)
        source, _ = sample.ends(relation, entities=self._rows, relations=2 * self._rows)
        return {"id": sample.relation_key(relation), "tenant": self._tenant(source)}

    def _tenant(self, entity: int) -> str:
        return LEGACY if self.running == "graph of one tenant" else sample.organisation(entity)

    def _execute(self, statement: bytes, parameters: dict[str, str]) -> int:
        if "%(tenant)s" not in statement.decode():
            return self._connection.execute(statement, parameters).rowcount
        with self._connection.transaction():
            self._connection.execute(_SCOPE.encode(), parameters)
            return self._connection.execute(statement, parameters).rowcount

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _work(url: str, rows: int, first: Code, told: Pipe) -> None:
    """The application's process: until told to stop, then its record goes back."""
    wanted, ended, changed = [first], [math.inf], threading.Event()

    def rest(seconds: float) -> None:
        changed.wait(min(seconds, 1.0))

    clients = [_Client(url, rows, lambda: wanted[0], number) for number in range(CONNECTIONS)]
    offset = time.time() - time.monotonic()
    schedule = Schedule(RATE, time.monotonic() + 0.1)
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        work = [
            threads.submit(partial(_record, schedule, lambda: ended[0], rest, client)) for client in clients
        ]
        try:
            told.send("ready")
            while (word := told.recv()) != "stop":
                wanted[0] = word
                until(lambda: all(client.running == wanted[0] for client in clients), f"the code {word}")
                told.send(word)
        finally:  # where the parent is gone, too
            ended[0] = time.monotonic()
            changed.set()
        felt = sorted((operation for each in work for operation in each.result()), key=lambda o: o.due)
    told.send([(operation.due + offset, operation.latency, operation.error) for operation in felt])


def _record(
    schedule: Schedule, ended: Callable[[], float], rest: Callable[[float], None], client: _Client
) -> list[Operation]:
    try:
        return list(paced(schedule, ended, rest, client.send))
    finally:
        client.close()


class Application:
    """The parent's handle on the application's process."""

    def __init__(self, process: multiprocessing.process.BaseProcess, pipe: Pipe) -> None:
        self._process, self._pipe = process, pipe

    def switch(self, code: Code) -> None:
        """Deploy other code; returns when no connection runs the former any more."""
        self._pipe.send(code)
        assert self._pipe.recv() == code

    def stop(self) -> Felt:
        """End it, once all that was due is done; what it felt from its first moment, less the warm-up."""
        self._pipe.send("stop")
        operations = [Operation(*each) for each in self._pipe.recv()]
        self._process.join()
        return Felt(tuple(operations)).between(operations[0].due + WARM_UP, math.inf)


@contextmanager
def applied(url: str, rows: int, code: Code = "big") -> Iterator[Application]:
    """The application at work on so many rows, past its warm-up, for as long as the context lasts."""
    spawn = multiprocessing.get_context("spawn")  # a fork would hold the servers' pipes open
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_work, args=(url, rows, code, theirs), daemon=True)
    process.start()
    theirs.close()  # the end of a process that fails is the end of the pipe
    try:
        assert ours.recv() == "ready"
        time.sleep(WARM_UP)
        yield Application(process, ours)
    finally:
        process.terminate()
        process.join()
        ours.close()
