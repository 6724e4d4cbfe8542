"""One fact that preflight looked at."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["pass", "warn", "stop"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact: it passes, warns, or stops the migration; `way_out` says what to do, empty where it passes."""

    level: Level
    name: str
    fact: str
    way_out: str = ""


def none_of(name: str, found: list[str], *, level: Level, way_out: str, fine: str) -> Finding:
    """Pass where nothing was found, else tell what."""
    if not found:
        return Finding("pass", name, fine)
    return Finding(
        level, name, "; ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else ""), way_out
    )
