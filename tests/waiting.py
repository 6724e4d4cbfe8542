"""Waiting in tests: for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

_INTERVAL = 0.02  # seconds between two looks


def until(condition: Callable[[], Seen], deadline_seconds: float, what: str) -> Seen:
    """Return the condition's first true value.

    Raises:
        AssertionError: there was none within the deadline; `what` says what was waited for.
    """
    deadline = time.monotonic() + deadline_seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {deadline_seconds:g} s for {what}; last seen: {value!r}"
        time.sleep(_INTERVAL)
    return value
