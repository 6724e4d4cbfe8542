"""What docs/plan.md says of the plan's keys is what the plan has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from control.plan.model import Plan
from worker.governor.limits import LABELS

_DOCUMENT = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf-8")
_ROW = re.compile(
    r"^\| (?:`\[+(?P<section>\w+)\]+` )?\| `(?P<key>\w+)` \| (?P<default>[^|]*?) ?\| (?P<told>.+) \|$",
    re.MULTILINE,
)


def _keys() -> Iterator[tuple[str | None, str, str]]:
    """Every key of a plan with its section and default as the document writes them; no limits of signals."""
    limits = {f"{kind}_{signal}" for kind in ("max", "stop") for signal in LABELS}
    for section, field in Plan.model_fields.items():
        part = _part(field.annotation)
        if part is None:
            yield None, section, _default(field)
        else:
            for key, one in part.model_fields.items():
                if key not in limits:
                    yield section, key, _default(one)


def _part(annotation: Any) -> type[BaseModel] | None:
    """The model of a section; of `[[tables]]` and of sections that may be left out, within another type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((part for one in get_args(annotation) if (part := _part(one))), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    match field.default:
        case None:
            return "none"
        case "":
            return '`""`'
        case ():
            return "`[]`"
        case tuple():
            return "all"
        case default:
            return f"`{default}`"


def test_the_table_has_every_key_of_the_plan_with_its_default_in_the_plans_order() -> None:
    told = [
        (row["section"], row["key"], row["default"])
        for row in _ROW.finditer(_DOCUMENT)
        if row["key"] not in {"max_", "stop_"}
    ]
    assert sorted(told, key=str) == sorted(_keys(), key=str)
