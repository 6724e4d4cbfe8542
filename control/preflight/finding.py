"""One fact that preflight looked at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sql.errors import GateClosedError

Level = Literal["pass", "warn", "stop"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact: it passes, warns, or stops the migration; `way_out` says what to do, empty where it passes."""

    level: Level
    name: str
    fact: str
    way_out: str = ""


def let_begin(findings: Sequence[Finding], notify: Callable[[str], None]) -> None:
    """Tell every warning, and let nothing begin that a finding stops.

    Raises:
        GateClosedError: at least one finding stops, each with its way out.
    """
    for finding in findings:
        if finding.level == "warn":
            notify(f"preflight: {finding.name}: {finding.fact}; {finding.way_out}")
    stops = [f"{f.name}: {f.fact} ({f.way_out})" for f in findings if f.level == "stop"]
    if stops:
        raise GateClosedError("preflight", stops, "Mend that; `tenantry check` shows the whole list")


def none_of(name: str, found: list[str], *, level: Level, way_out: str, fine: str) -> Finding:
    """Pass where nothing was found, else tell what."""
    if not found:
        return Finding("pass", name, fine)
    return Finding(
        level, name, "; ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else ""), way_out
    )
