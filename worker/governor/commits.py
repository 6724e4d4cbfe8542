"""How long a small commit takes: what every session that writes feels of the WAL that batches make.

A thread of its own makes them, for a worker that looked between its batches would see none of its own load.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout

import sql.postgres
from sql.named import load
from sql.postgres.connection import Connection, Pool

SIGNALS = load(Path(sql.postgres.__file__).parent, "signals")

#: Seconds between two of them: twenty-five in the seconds that are looked back on.
_EVERY, _RECENT = 0.2, 5.0
#: After the last turn to sample they go on for so many seconds: with eight workers the turn comes round.
_FOR = 10.0
#: So many tell what one takes while nobody's batch runs, within so many seconds.
_CALM, _CALM_WITHIN = 20, 1.0


def p90(seconds: Iterable[float]) -> float | None:
    """The duration that nine of ten kept to: one that was measured; None of none."""
    ordered = sorted(seconds)
    return ordered[math.ceil(0.9 * len(ordered)) - 1] if ordered else None


@dataclass(slots=True)
class Commits:
    """The last small commits of this worker."""

    pool: Pool
    _took: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=1_000))
    """When each ended, by this worker's clock, and its duration; seconds."""
    _begun: float | None = None
    """When the one that is under way began: one that hangs tells more than all before it."""
    _until: float = -math.inf
    _thread: threading.Thread | None = None
    _rest: threading.Event = field(default_factory=threading.Event)

    def calm(self) -> float | None:
        """What one takes now, in seconds, from twenty in a row; None where the database is out of reach."""
        took, begun = list[float](), time.monotonic()
        try:
            with self.pool.connection(timeout=2) as connection:
                while len(took) < _CALM and time.monotonic() - begun < _CALM_WITHIN:
                    took.append(_commit(connection))
        except (psycopg.Error, PoolTimeout):
            return None
        return p90(took)

    def watch(self) -> None:
        """Go on making them for a while."""
        self._until = time.monotonic() + _FOR
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._make, daemon=True)
            self._thread.start()

    def lately(self) -> float | None:
        """What one took in the last seconds; None where none was made."""
        now = time.monotonic()
        took = [seconds for ended, seconds in list(self._took) if now - ended <= _RECENT]
        begun, lasting = self._begun, p90(took)
        return lasting if begun is None else max(lasting or 0.0, now - begun)

    def _make(self) -> None:
        while time.monotonic() < self._until:
            try:
                with self.pool.connection(timeout=_EVERY) as connection:
                    self._begun = time.monotonic()
                    took = _commit(connection)
                self._took.append((time.monotonic(), took))
            except PoolClosed:
                return
            # The look at the database says it when there is none.
            except (psycopg.Error, PoolTimeout):
                pass
            finally:
                self._begun = None
            self._rest.wait(_EVERY)


def _commit(connection: Connection) -> float:
    begun = time.monotonic()
    connection.execute(SIGNALS.small_commit.compose())
    return time.monotonic() - begun
