"""Writes a plan as the TOML that an operator goes on to edit; `control.plan.reading` reads it back."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from control.plan.model import Plan
from control.plan.sections import Table
from sql.tenant_source import TenantSource

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

#: What every plan says about tenants, even where it is the default: the first lines to look over.
_ALWAYS = {"column", "sentinel", "setting", "legacy"}

#: Above the names that may be unique within each tenant.
_OFFER = (
    "Unique in all tenants together, and left so: no two tenants can have the same value. Take the next line",
    "in, with those that are to be unique within each tenant instead.",
)


def toml(
    plan: Plan,
    *,
    head: Sequence[str] = (),
    notes: Mapping[str, Sequence[str]] | None = None,
    offers: Mapping[str, Sequence[str]] | None = None,
    others: Mapping[str, TenantSource] | None = None,
) -> str:
    """Write a plan: `head` becomes comments above it, `notes` comments above the tables they name.

    `offers` are names for a table's `unique`, and `others` sources that would do in place of the table's: a
    comment that is valid once its sign is taken away.
    Addresses are written as the plan has them; keep passwords out with `env:NAME`.
    """
    rest: dict[str, Any] = plan.model_dump(exclude_defaults=True, exclude={"name", "tables", "tenant"})
    tenant = plan.tenant.model_dump(include=_ALWAYS) | plan.tenant.model_dump(exclude_defaults=True)
    lines = [*_comments(head), f"name = {_value(plan.name)}"]
    for section, content in ({"database": rest.pop("database"), "tenant": tenant} | rest).items():
        lines += ["", f"[{section}]", *(f"{_key(key)} = {_value(value)}" for key, value in content.items())]
    for table in plan.tables:
        lines += ["", *_comments((notes or {}).get(table.name, ()))]
        lines += _table(table, (offers or {}).get(table.name, ()), (others or {}).get(table.name))
    return "\n".join(lines) + "\n"


def _table(table: Table, offered: Sequence[str], other: TenantSource | None) -> list[str]:
    lines = [
        "[[tables]]",
        f"name = {_value(table.name)}",
        f"tenant = {_value(table.tenant.model_dump(exclude_none=True))}",
    ]
    if other is not None:
        lines += _comments([f"tenant = {_value(other.model_dump(exclude_none=True))}"])
    if table.indexes:
        lines += ["indexes = [", *(f"  {_value(index.model_dump())}," for index in table.indexes), "]"]
    if table.primary_key is not None:
        lines.append(f"primary_key = {_value(table.primary_key)}")
    if table.unique:
        lines.append(f"unique = {_value(table.unique)}")
    if offered:
        lines += [*_comments(_OFFER), f"# unique = {_value(offered)}"]
    if table.rls is not None:
        lines.append(f"rls = {_value(table.rls.model_dump(exclude=None if table.rls.roles else {'roles'}))}")
    return lines


def _comments(notes: Sequence[str]) -> list[str]:
    # A name may hold a line break, or control characters that TOML allows in no comment.
    return ["# " + "".join(one if one.isprintable() else " " for one in note) for note in notes]


def _value(value: object) -> str:
    match value:
        case str():
            # A JSON string is a TOML string, but for one control character that TOML wants escaped.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case SecretStr():
            return _value(value.get_secret_value())
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case Mapping():
            pairs = ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items())
            return f"{{ {pairs} }}"
        case Sequence():
            return f"[{', '.join(_value(inner) for inner in value)}]"
        case _:
            raise TypeError(f"a plan holds no {type(value).__name__}")


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)
