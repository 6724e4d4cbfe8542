"""Draw the dashboards as docs/*.png: `make preview`, which needs Debian's package prometheus.

A migration of the sample goes on under Prometheus for two minutes (`tests.integration.scraped`), and what
that answers to the dashboards' own queries is drawn in their own grid: an impression of what Grafana shows.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from PIL import Image

from control.embedded.valkey import start_valkey
from tests.integration.prometheus import PROGRAM, Curve, Prometheus
from tests.integration.scraped import migrated
from tests.integration.test_scraped import BOARDS, asked

_HERE = Path(__file__).parent
_WIDTH, _LINE, _DPI = 15.0, 0.36, 100  # inches, and inches for a line of the grid
_GROUND, _PANEL, _TEXT, _FAINT = "#111217", "#181b1f", "#d5d6da", "#83868d"
#: Grafana's own.
_COLOURS = {
    "semi-dark-blue": "#3274d9",
    "semi-dark-green": "#56a64b",
    "semi-dark-orange": "#ff780a",
    "semi-dark-red": "#e02f44",
    "light-orange": "#ffb357",
}
_PALETTE = ("#5794f2", "#b877d9", "#f2cc0c", "#8ab8ff", "#73bf69", "#ff9830", "#ca95e5", "#c0d8ff")

Panel = dict[str, Any]


@dataclass(frozen=True)
class _Seen:
    """What is drawn: curves from the beginning to the end, figures as they were at `moment`."""

    prometheus: Prometheus
    begun: float
    ended: float
    moment: float

    def curves(self, target: Panel) -> list[tuple[str, Curve]]:
        """The curves of a target, by what their legend says."""
        found = self.prometheus.over(asked(target["expr"]), self.begun, self.ended)
        return [(_legend(target, curve.labels), curve) for curve in found]

    def now(self, target: Panel) -> list[tuple[dict[str, str], float]]:
        return self.prometheus.now(asked(target["expr"]), self.moment)


def _legend(target: Panel, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), target.get("legendFormat", ""))


def _colour(name: str) -> str:
    return _COLOURS.get(name, name)


#: From which value on a unit is said by another name, and of how many it is.
_SCALES: dict[str, Sequence[tuple[float, str]]] = {
    "s": ((3600, " h"), (60, " min"), (1, " s"), (0.001, " ms")),
    "bytes": ((2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B")),
    "binBps": ((2**30, " GiB/s"), (2**20, " MiB/s"), (2**10, " KiB/s"), (1, " B/s")),
    "percentunit": ((0.01, " %"),),
}
_SHORT = ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"), (1, ""))
_RATES = {"rps": " rows/s", "ops": "/s", "wps": " writes/s"}


def said(value: float, unit: str, decimals: int | None = None) -> str:
    """A value as Grafana says it."""
    if unit == "bool_yes_no":
        return "Yes" if value else "No"
    scale = _SCALES.get(unit, _SHORT)
    plain = next(each for each in scale if each[0] <= 1)
    size, name = next((each for each in scale if abs(value) >= each[0]), plain)
    rounded = f"{value / size:.{decimals}f}" if decimals is not None and size == 1 else f"{value / size:.3g}"
    return rounded + name + _RATES.get(unit, "")


def draw(name: str, seen: _Seen) -> bytes:
    """Draw a dashboard as PNG."""
    panels = BOARDS[name]["panels"]
    lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    height = (lines + 1.6) * _LINE
    figure = plt.figure(figsize=(_WIDTH, height), facecolor=_GROUND, dpi=_DPI)
    top = 1 - 1.5 * _LINE / height
    figure.text(
        0.008, top + 0.35 * _LINE / height, BOARDS[name]["title"], color=_TEXT, fontsize=15, weight="bold"
    )
    note = "curves: the whole migration · figures and tables: one moment, held by a standby that lags"
    figure.text(0.992, top + 0.4 * _LINE / height, note, color=_FAINT, fontsize=9, ha="right")
    for panel in panels:
        at = panel["gridPos"]
        left, width = at["x"] / 24, at["w"] / 24
        bottom, high = top - (at["y"] + at["h"]) * _LINE / height, at["h"] * _LINE / height
        if panel["type"] == "row":
            figure.text(0.008, bottom + 0.25 * high, f"⌄ {panel['title']}", color=_TEXT, fontsize=11)
            continue
        inset = 0.06 / _WIDTH
        box = figure.add_axes(
            (left + inset, bottom + 0.05 / height, width - 2 * inset, high - 0.1 / height), facecolor=_PANEL
        )
        box.set(xticks=[], yticks=[])
        box.spines[:].set_color("#24272d")
        box.text(
            0.09, at["h"] * _LINE - 0.27, panel["title"], color=_TEXT, fontsize=9, transform=_inches(box)
        )
        _KINDS[panel["type"]](box, panel, seen)
    drawn = BytesIO()
    figure.savefig(drawn, facecolor=_GROUND)
    plt.close(figure)
    picture, small = Image.open(drawn).convert("RGB"), BytesIO()
    picture.save(small, "PNG", optimize=True)
    return small.getvalue()


def _inches(axes: Axes) -> Any:
    """Positions in inches from the corner at the left and below."""
    return mpl.transforms.ScaledTranslation(0, 0, axes.figure.dpi_scale_trans) + (
        axes.figure.dpi_scale_trans
        + mpl.transforms.ScaledTranslation(
            axes.bbox.x0 / _DPI, axes.bbox.y0 / _DPI, axes.figure.dpi_scale_trans
        )
    )


def _inside(box: Axes, *, left: float, right: float, below: float, above: float = 0.42) -> Axes:
    """Axes inside a panel, with margins in inches."""
    size = box.get_window_extent()
    wide, high = size.width / _DPI, size.height / _DPI
    axes = box.inset_axes(
        (left / wide, below / high, 1 - (left + right) / wide, 1 - (below + above) / high), facecolor=_PANEL
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=_FAINT, labelsize=7.5, length=0)
    return axes


def _stat(box: Axes, panel: Panel, seen: _Seen) -> None:
    (target,) = panel["targets"]
    defaults = panel["fieldConfig"]["defaults"]
    found = seen.now(target)
    colour = _FAINT
    if not found:
        text = defaults["noValue"]
    elif panel["options"]["textMode"] == "name":
        text = "\n".join(_legend(target, labels) for labels, _ in found[:3])
        colour = _fixed(panel, text) or _colour(defaults["thresholds"]["steps"][0]["color"])
    else:
        value = found[0][1]
        text, colour = said(value, defaults["unit"], defaults.get("decimals")), _threshold(defaults, value)
    wide = box.get_window_extent().width / _DPI
    size = min(21.0, wide * 72 / (0.62 * max(6, *map(len, text.split("\n")))))
    if size < 10:
        text, size = _folded(text, wide), 9.5
    box.text(0.5, 0.4, text, color=colour, fontsize=size, ha="center", va="center", transform=box.transAxes)


def _folded(text: str, wide: float) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > wide * 12.5:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines[:4])


def _threshold(defaults: Panel, value: float) -> str:
    steps = defaults["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return _colour(reached[-1])


def _fixed(panel: Panel, name: str) -> str | None:
    """The colour that an override gives a name."""
    for override in panel["fieldConfig"]["overrides"]:
        matcher = override["matcher"]
        by_name = matcher["id"] == "byName"
        fits = matcher["options"] == name if by_name else re.search(matcher["options"].strip("/"), name)
        for each in override["properties"]:
            if fits and each["id"] == "color" and "fixedColor" in each["value"]:
                return _colour(each["value"]["fixedColor"])
    return None


def _dashed(panel: Panel, name: str) -> bool:
    return any(
        override["matcher"]["options"] == name and each["id"] == "custom.lineStyle"
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
    )


def _over_time(axes: Axes, seen: _Seen) -> None:
    axes.set_xlim(seen.begun, seen.ended)
    axes.xaxis.set_major_locator(MultipleLocator(20, offset=seen.begun))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{max(0, at - seen.begun):.0f} s"))


def _timeseries(box: Axes, panel: Panel, seen: _Seen) -> None:
    curves = [each for target in panel["targets"] for each in seen.curves(target)]
    wide = box.get_window_extent().width / _DPI
    across = max(1, int(wide / (0.45 + 0.075 * max((len(name) for name, _ in curves), default=1))))
    axes = _inside(box, left=0.78, right=0.15, below=0.36 + 0.16 * -(-len(curves) // across))
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults["custom"].get("stacking", {}).get("mode") == "normal"
    upon: dict[float, float] = {}
    for number, (name, curve) in enumerate(curves):
        colour = _fixed(panel, name) or _PALETTE[number % len(_PALETTE)]
        at, values = _with_gaps(curve)
        if stacked:
            below = np.array([upon.get(each, 0.0) for each in at])
            values = below + np.nan_to_num(values)
            upon |= dict(zip(at, values, strict=True))
            axes.fill_between(at, below, values, color=colour, alpha=0.4, lw=0)
        elif not _dashed(panel, name):
            axes.fill_between(at, 0, values, color=colour, alpha=0.08, lw=0)
        marker = "." if len(at) == 1 else None
        line = "--" if _dashed(panel, name) else "-"
        axes.plot(at, values, color=colour, lw=1.1, ls=line, marker=marker, label=name)
    _over_time(axes, seen)
    axes.set_ylim(0, defaults.get("max") or max(axes.get_ylim()[1], 1e-9))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: said(value, defaults["unit"])))
    axes.grid(axis="y", color="#24272d", lw=0.8)
    handles, names = axes.get_legend_handles_labels()
    kept = dict(zip(names, handles, strict=True))
    box.legend(
        kept.values(),
        kept,
        loc="lower left",
        ncols=across,
        frameon=False,
        fontsize=7.5,
        labelcolor=_TEXT,
        handlelength=1.2,
        columnspacing=1.2,
        borderaxespad=0.2,
    )


def _with_gaps(curve: Curve) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Times and values, with a hole where nothing was there."""
    times, values = [curve.values[0][0]], [curve.values[0][1]]
    for at, value in curve.values[1:]:
        if at - times[-1] > 2:
            times.append(times[-1] + 1)
            values.append(np.nan)
        times.append(at)
        values.append(value)
    return np.array(times), np.array(values)


def _heatmap(box: Axes, panel: Panel, seen: _Seen) -> None:
    axes = _inside(box, left=0.72, right=0.15, below=0.34)
    (target,) = panel["targets"]
    curves = sorted(
        ((float(curve.labels["le"]), curve) for _, curve in seen.curves(target)), key=lambda each: each[0]
    )
    times = sorted({at for _, curve in curves for at, _ in curve.values})
    cumulated = np.array([[dict(curve.values).get(at, 0.0) for at in times] for _, curve in curves])
    counts = np.diff(np.nan_to_num(cumulated), axis=0, prepend=0)
    counts[counts <= 0] = np.nan
    axes.pcolormesh([*times, times[-1] + 1], np.arange(len(curves) + 1), counts, cmap="Blues_r", vmin=-2)
    _over_time(axes, seen)
    axes.set_yticks(np.arange(len(curves)) + 1, ["∞" if np.isinf(le) else said(le, "s") for le, _ in curves])


def _state_timeline(box: Axes, panel: Panel, seen: _Seen) -> None:
    order: dict[str, int] = {}
    for transformation in panel.get("transformations", ()):
        order |= transformation["options"].get("indexByName", {})
    (target,) = panel["targets"]
    curves = dict(seen.curves(target))
    names = sorted(curves, key=lambda name: (order.get(name, -1), name))
    longest = max(map(len, names), default=0)
    axes = _inside(box, left=0.3 + 0.068 * longest, right=0.15, below=0.3)
    words = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    for place, name in enumerate(names):
        for begin, end, value in _spans(curves[name]):
            word = words[f"{value:.0f}"]
            axes.barh(place, end - begin, 0.8, begin, color=_colour(word["color"]), alpha=0.8, lw=0)
            if end - begin > (seen.ended - seen.begun) * (len(word["text"]) + 1) * 0.08 / 13:
                axes.text(begin + 0.2, place, word["text"], color="white", fontsize=7.5, va="center")
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    _over_time(axes, seen)


def _spans(curve: Curve) -> Sequence[tuple[float, float, float]]:
    """From when to when a value was the same."""
    found: list[tuple[float, float, float]] = []
    for at, value in curve.values:
        if found and found[-1][2] == value and at - found[-1][1] < 1.5:
            found[-1] = (found[-1][0], at + 1, value)
        else:
            found.append((at, at + 1, value))
    return found


def _table(box: Axes, panel: Panel, seen: _Seen) -> None:
    organized = panel["transformations"][1]["options"]
    by, *columns = sorted(organized["indexByName"], key=organized["indexByName"].get)
    called = organized["renameByName"]
    values: dict[str, dict[str, float]] = {}
    for column, target in zip(columns, panel["targets"], strict=True):
        for labels, value in seen.now(target):
            values.setdefault(labels[by], {})[called[column]] = value
    shown = [called[column] for column in columns]
    (sort,) = panel["options"]["sortBy"]
    rows = sorted(values, key=lambda name: values[name].get(sort["displayName"], -1), reverse=True)
    size = box.get_window_extent()
    wide, high = size.width / _DPI, size.height / _DPI
    overrides = {
        each["matcher"]["options"]: {prop["id"]: prop["value"] for prop in each["properties"]}
        for each in panel["fieldConfig"]["overrides"]
    }
    parts = np.array(
        [2.0, *(2.0 if "thresholds" in overrides[name] else max(1.0, len(name) / 8) for name in shown)]
    )
    edges = 0.1 + np.concatenate(([0.0], np.cumsum(parts / parts.sum()))) * (wide - 0.2)
    most = int((high - 0.75) / 0.25)
    axes = box.inset_axes(
        (0, 0, 1, 1), facecolor="none", xlim=(0, wide), ylim=(0, high), xticks=[], yticks=[]
    )
    axes.spines[:].set_visible(False)
    for place, name in enumerate((called[by], *shown)):
        axes.text(edges[place], high - 0.56, name, color=_COLOURS["semi-dark-blue"], fontsize=8, va="center")
    for number, row in enumerate(rows[:most]):
        y = high - 0.83 - 0.25 * number
        axes.plot((0.08, wide - 0.08), (y + 0.125, y + 0.125), color="#24272d", lw=0.8)
        axes.text(edges[0], y, row, color=_TEXT, fontsize=8, va="center")
        for place, name in enumerate(shown, 1):
            value, look = values[row].get(name, np.nan), overrides[name]
            if "thresholds" in look and not np.isnan(value):
                room = edges[place + 1] - edges[place] - 0.75
                axes.barh(y, room, 0.13, edges[place], color="#24272d")
                axes.barh(y, room * min(1.0, value), 0.13, edges[place], color=_threshold(look, value))
                axes.text(
                    edges[place] + room + 0.06,
                    y,
                    said(value, look["unit"]),
                    color=_TEXT,
                    fontsize=8,
                    va="center",
                )
                continue
            told = (
                f"{seen.moment - value / 1000:.0f} s ago"
                if look["unit"] == "dateTimeFromNow"
                else said(value, look["unit"])
            )
            axes.text(edges[place], y, "" if np.isnan(value) else told, color=_TEXT, fontsize=8, va="center")


_KINDS: dict[str, Callable[[Axes, Panel, _Seen], None]] = {
    "stat": _stat,
    "timeseries": _timeseries,
    "heatmap": _heatmap,
    "state-timeline": _state_timeline,
    "table": _table,
}


def _held(prometheus: Prometheus, begun: float, ended: float) -> float:
    """When the standby's lag held the backfill."""
    lags = prometheus.over('tenantry_held{reason="replica lag in seconds"}', begun, ended)
    return lags[0].values[0][0]


def main() -> None:
    """Migrate, and draw."""
    if PROGRAM is None:
        sys.exit("needs Debian's package prometheus")
    mpl.use("agg")
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-preview-") as folder,
        start_valkey() as valkey,
        migrated(PROGRAM, Path(folder), valkey) as scraped,
    ):
        moment = _held(scraped.prometheus, scraped.begun, scraped.ended)
        seen = _Seen(scraped.prometheus, scraped.begun, scraped.ended, moment)
        for name in BOARDS:
            (_HERE / f"{name}.png").write_bytes(draw(name, seen))


if __name__ == "__main__":
    main()
