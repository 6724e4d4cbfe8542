"""What docs/governor.md says of the signals is what the plan has."""

import re
from pathlib import Path

from control.plan.governor import Governor
from worker.governor.limits import LABELS

_DOCUMENT = (Path(__file__).parents[2] / "docs" / "governor.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `(?P<signal>\w+)` \| .+ \| `(?P<limit>[^`]+)` \| `(?P<stop>[^`]+)` \|$", re.MULTILINE)


def test_every_signal_is_in_the_table_with_its_limit_and_its_stop() -> None:
    told = {row["signal"]: (row["limit"], row["stop"]) for row in _ROW.finditer(_DOCUMENT)}
    plan = Governor()
    assert told == {
        signal: (str(getattr(plan, f"max_{signal}")), str(getattr(plan, f"stop_{signal}")))
        for signal in LABELS
    }
