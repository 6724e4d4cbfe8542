"""Since when nothing happened that is counted, across restarts of the controller.

A count is kept in the ledger with the time at which it was first seen. As long as it stays the same it has
been quiet since then, whoever was or wasn't looking meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from control.stage import Memory


@dataclass(frozen=True, slots=True)
class Quiet:
    """Since when it is quiet, by the server's clock; `broken` if a count that was known has just changed."""

    since: datetime
    broken: bool


def since(memory: Memory, key: str, counted: Mapping[str, Any], now: datetime) -> Quiet:
    """Compare what is counted now with what was last kept under `key`; any difference begins a new quiet."""
    kept = memory.recall(key)
    if kept is not None and kept["counted"] == counted:
        return Quiet(datetime.fromisoformat(kept["since"]), broken=False)
    memory.remember(key, {"counted": dict(counted), "since": now.isoformat()})
    return Quiet(now, broken=kept is not None)
