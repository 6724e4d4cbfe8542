"""Waiting in tests: for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

_INTERVAL = 0.02  # seconds between two looks


def until(condition: Callable[[], Seen], what: str, *, within: float = 60) -> Seen:
    """Return the condition's first true value.

    Raises:
        AssertionError: there was none within so many seconds; `what` says what was waited for.
    """
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {within:g} s for {what}; last seen: {value!r}"
        time.sleep(_INTERVAL)
    return value
