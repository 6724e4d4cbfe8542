"""The table at the end of `make chaos`: what struck, when, and what became of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_HEAD = (
    "fault",
    "seed",
    "struck",
    "at batches",
    "rows right",
    "once",
    "gapless",
    "writes kept",
    "operations",
    "errors",
    "retries",
    "longest stall",
    "starts",
    "took",
)


def lines(verdicts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The lines of the table, a verdict each, in the order of the faults' names."""
    rows = [_HEAD, *(_row(verdict) for verdict in sorted(verdicts, key=lambda verdict: verdict["fault"]))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        cells = [
            text.ljust(width) if nth == 0 else text.rjust(width)
            for nth, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _row(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    first, last = verdict["shares"]
    return (
        verdict["fault"],
        str(verdict["seed"]),
        f"{verdict['struck']}x",
        f"{first:.0%}-{last:.0%} of {verdict['batches']}",
        _said(verdict["rows_right"]),
        _said(verdict["once"]),
        _said(verdict["gapless"]),
        f"{verdict['acknowledged']:,}" if verdict["kept"] else "NO",
        f"{verdict['operations']:,}",
        f"{verdict['errors']:,}",
        f"{verdict['retries']:,}",
        f"{verdict['longest_stall_ms']:,.0f} ms",
        str(verdict["starts"]),
        f"{verdict['seconds']:.0f} s",
    )


def _said(holds: bool) -> str:  # noqa: FBT001  # a cell of a table
    return "yes" if holds else "NO"
