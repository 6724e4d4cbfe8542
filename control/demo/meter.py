"""Counts the application's operations and times them, over all of its connections."""

import threading
import time
from collections import Counter, deque

from control.demo.messages import Code, Failure, Report

#: How far back the percentiles look, in seconds.
_RECENT = 5.0


class Meter:
    """What the connections' threads record and the reporting thread reads."""

    def __init__(self, connections: int) -> None:
        self._lock = threading.Lock()
        self._connections = connections
        self._begun = time.monotonic()
        self._by_kind: Counter[str] = Counter()
        self._under_way: dict[int, float] = {}
        self._recent: deque[tuple[float, float]] = deque()
        self._worst = 0.0
        self._errors: Counter[str] = Counter()
        self._last_error: Failure | None = None
        self._two_key_retries = 0
        self._reported = self._begun
        self._reported_operations = 0
        self._interval_worst = 0.0

    def begin(self, connection: int) -> None:
        """An operation's first statement is about to be sent."""
        with self._lock:
            self._under_way[connection] = time.monotonic()

    def end(self, connection: int, kind: str) -> None:
        """An operation was answered, well or with an error."""
        with self._lock:
            now = time.monotonic()
            took = now - self._under_way.pop(connection)
            self._by_kind[kind] += 1
            self._recent.append((now, took))
            self._interval_worst = max(self._interval_worst, took)

    def failed(self, failure: Failure) -> None:
        """An operation ended with an error."""
        with self._lock:
            self._errors[failure.sqlstate] += 1
            self._last_error = failure

    def retried(self) -> None:
        """An upsert met the two-key window and is sent a second time."""
        with self._lock:
            self._two_key_retries += 1

    def report(self, code: Code, *, final: bool = False) -> Report:
        """Sum up; the next interval begins here."""
        with self._lock:
            now = time.monotonic()
            while self._recent and self._recent[0][0] < now - _RECENT:
                self._recent.popleft()
            latencies = sorted(took for _, took in self._recent)
            # A stall must be seen while it lasts: an operation that waits 10 s reports nothing in between.
            interval_worst = max([self._interval_worst, *(now - begun for begun in self._under_way.values())])
            self._worst = max(self._worst, interval_worst)
            operations = self._by_kind.total()
            report = Report(
                final=final,
                code=code,
                seconds=round(now - self._begun, 3),
                connections=self._connections,
                operations=operations,
                by_kind=dict(sorted(self._by_kind.items())),
                per_second=round(
                    (operations - self._reported_operations) / max(now - self._reported, 1e-3), 1
                ),
                errors=self._errors.total(),
                by_sqlstate=dict(self._errors),
                last_error=self._last_error,
                two_key_retries=self._two_key_retries,
                worst_ms=_milliseconds(self._worst),
                interval_worst_ms=_milliseconds(interval_worst),
                p50_ms=_percentile(latencies, 0.50),
                p99_ms=_percentile(latencies, 0.99),
            )
            self._reported, self._reported_operations, self._interval_worst = now, operations, 0.0
            return report


def _percentile(ordered: list[float], share: float) -> float:
    return _milliseconds(ordered[min(int(len(ordered) * share), len(ordered) - 1)]) if ordered else 0.0


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
