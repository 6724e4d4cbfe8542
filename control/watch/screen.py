"""A migration on a whole terminal: which lines there are, and which of them fit. All of it is pure.

Nothing is ever wrapped but what a key has done and why nothing can be seen. What does not fit is counted
where it is missing; the more a terminal holds, the more is shown.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from rich.cells import cell_len
from rich.text import Text

from control.status import StageStatus
from control.watch import panels
from control.watch.panels import BUSY, GRAVE, WARN, Panel
from control.watch.render import MARKS
from control.watch.sight import Sight
from control.watch.words import counted, duration, took

#: From so many lines on each stage has one of its own.
_TALL = 40
#: Lines that what a key has done may take, and why nothing can be seen.
_SAID = 3
#: What the keys are, for the last line; `control.watch.pressed` has what they do.
_KEYS = (("p", "pause"), ("r", "resume"), ("+ -", "pace"), ("q", "quit"))

_STAGES = {"running": BUSY, "waiting": WARN, "failed": GRAVE}
_STATES = {
    "running": ("▶", BUSY),
    "paused": ("‖", WARN),
    "cancelled": ("✗", WARN),
    "rolling back": ("◀", BUSY),
    "complete": ("✓", "bold"),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What is told: the migration as it was seen last, and the watching itself.

    `where` names its database; `away` says why it could not be seen just now; `said` is what a key has done.
    """

    sight: Sight
    now: datetime
    where: str = ""
    away: str | None = None
    said: str = ""


def screen(shown: Shown, width: int, height: int) -> list[Text]:
    """Lay a migration out in exactly `height` lines, none longer than `width` cells."""
    status = shown.sight.status
    top = [_title(shown, width), *_stages(status.stages, shown.now, width, height)]
    found = [panel for panel in panels.of(shown.sight, shown.now, width) if panel.most or panel.lasting]
    told = _told(shown, width)
    given = _allotted(found, height - len(top) - len(told) - 1)
    body = list(chain.from_iterable(_drawn(panel, given[panel.name], width) for panel in found))
    foot = [*told, _keys([panel.name for panel in found if given[panel.name] is None], width)]
    lines = [*top, *body][: max(0, height - len(foot))]
    lines += [Text() for _ in range(height - len(lines) - len(foot))]
    return [_fitted(line, width) for line in [*lines, *foot][-height:]]


def _title(shown: Shown, width: int) -> Text:
    status = shown.sight.status
    mark, style = _STATES.get(status.state, ("·", ""))
    ended = status.finished_at or shown.now
    took = f"  {duration((ended - status.started_at).total_seconds())}"
    name = Text(status.migration, "bold")
    # A long name gives way to what becomes of the migration.
    name.truncate(max(8, width - len(f"  {mark} {status.state}{took}")), overflow="ellipsis")
    title = Text.assemble(name, "  ", (f"{mark} {status.state}", style), took)
    clock = f"{shown.now.astimezone(UTC):%H:%M:%S} UTC"
    long = panels.across(title, Text(f"{shown.where}  {clock}"), width)
    return long if long.cell_len > title.cell_len else panels.across(title, Text(clock), width)


def _stages(stages: Sequence[StageStatus], now: datetime, width: int, height: int) -> list[Text]:
    longest = max(len(stage.name) for stage in stages)
    cells = [
        Text.assemble(
            (f"{MARKS[stage.state][0]} {stage.name:<{longest}}", _STAGES.get(stage.state, "")),
            f" {took(stage, now):>8}",
        )
        for stage in stages
    ]
    if height >= _TALL:
        return [
            Text.assemble(cell, f"  {stage.detail or ''}") for cell, stage in zip(cells, stages, strict=True)
        ]
    open_ = [f"{stage.name}: {stage.detail}" for stage in stages if stage.state in _STAGES and stage.detail]
    lines = panels.columns(cells, width, longest + 11)
    return [*_in_sight(lines, stages, room=max(1, height // 2)), *map(Text, open_[:2])]


def _in_sight(lines: Sequence[Text], stages: Sequence[StageStatus], room: int) -> Sequence[Text]:
    """So many lines of stages as there is room for, the first stage that is not done among them."""
    if len(lines) <= room:
        return lines
    beside = -(-len(stages) // len(lines))
    at = next((n for n, stage in enumerate(stages) if stage.state != "done"), len(stages) - 1) // beside
    first = max(0, min(at - (room - 1) // 2, len(lines) - room))
    return lines[first : first + room]


def _told(shown: Shown, width: int) -> list[Text]:
    """Why the database could not be seen, and what a key has done."""
    said = ((shown.away or "", GRAVE), (shown.said, "bold"))
    return [
        Text(line, style)
        for text, style in said
        for line in textwrap.wrap(text, _letters(text, width), max_lines=_SAID, placeholder=" …")
    ]


def _letters(text: str, width: int) -> int:
    """How many letters of a text a line holds for certain: those of some scripts are two cells wide."""
    return width if cell_len(text) <= len(text) else max(1, width // 2)


def _keys(missing: Sequence[str], width: int) -> Text:
    keys = Text("  ").join(Text.assemble((f" {key} ", "reverse"), f" {what}") for key, what in _KEYS)
    if keys.cell_len > width:
        keys = Text("  ").join(Text(f" {key} ", "reverse") for key, _ in _KEYS)
    if not missing:
        return keys
    long = panels.across(keys, Text(f"too low for {', '.join(missing)}"), width)
    return (
        long
        if long.cell_len > keys.cell_len
        else panels.across(keys, Text(f"{len(missing)} more parts"), width)
    )


def _allotted(found: Sequence[Panel], room: int) -> dict[str, int | None]:
    """How many lines each panel has below its heading; None where not even the least of it fits.

    First each its least, the most important first; then each as much as there is left.
    """
    given: dict[str, int | None] = {}
    order = sorted(found, key=lambda panel: panel.rank)
    for panel in order:
        least = min(panel.least, panel.most)
        given[panel.name] = least if room > least else None
        room -= least + 1 if room > least else 0
    for panel in order:
        has = given[panel.name]
        if has is not None:
            more = min(panel.most - has, max(room, 0))
            given[panel.name] = has + more
            room -= more
    return given


def _drawn(panel: Panel, lines: int | None, width: int) -> list[Text]:
    if lines is None:
        return []
    shown, missing = panel.lines(lines)
    number, things = counted(missing, *panel.things).split(" ", 1)
    more = f" {number} more {things} ─" if missing else ""
    heading = Text.assemble(("─ ", "dim"), (panel.heading, "bold"), " ")
    rule = "─" * (width - heading.cell_len - len(more))
    return [Text.assemble(heading, (rule, "dim"), more), *shown]


def _fitted(line: Text, width: int) -> Text:
    """No longer than the terminal is wide, and nothing in it that a terminal would obey."""
    plain = "".join(letter if letter.isprintable() else " " for letter in line.plain)
    fitted = Text(plain, line.style, spans=line.spans, no_wrap=True, overflow="crop")
    fitted.truncate(width, overflow="ellipsis")
    return fitted
