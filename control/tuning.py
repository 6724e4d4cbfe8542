"""What of a plan may be changed while it runs: which keys, what a value means, and the plan with them.

Nothing here knows a database. What is tuned is kept in the ledger by the plan's own names, and wins over
the plan's file until it is given back.
"""

import tomllib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, get_origin

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from control.plan.governor import MOST_ROWS, Governor
from control.plan.model import Plan, nearest
from control.plan.sections import Backfill
from control.plan.values import NO_LIMIT, Part
from sql.errors import GivenWrongError

#: What is tuned: values as JSON has them, by the plan's names.
Tuned = Mapping[str, Any]
NOTHING: Tuned = MappingProxyType({})

#: The one key that is no plan's: processes of each pool of workers.
WORKERS = "workers"
_POOL = TypeAdapter[int](Annotated[int, Field(ge=0, le=64)])

_PARTS: dict[str, type[Part]] = {"governor": Governor, "backfill": Backfill}
#: What a list with nothing in it is called, where it isn't none.
_EMPTY = {"active": "all hours"}
_OF_BACKFILL = ("target", "active", "synchronous_commit")
#: Where each key stands in a plan.
KEYS: dict[str, str | None] = {
    **dict.fromkeys(Governor.model_fields, "governor"),
    **dict.fromkeys(_OF_BACKFILL, "backfill"),
    WORKERS: None,
}


def read(arguments: Sequence[str]) -> dict[str, str]:
    """Read `key=value` arguments; an empty value gives the plan's own back.

    Raises:
        GivenWrongError: no such key, no value, or one key twice.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        key, equals, text = (part.strip() for part in argument.partition("="))
        if key not in KEYS:
            hint = nearest(key, KEYS) or f"; they are {', '.join(KEYS)}"
            raise GivenWrongError(f"no key {key!r} to tune{hint}")
        if not equals:
            raise GivenWrongError(f"{key}: write {key}=VALUE, or {key}= for the plan's own")
        if key in found:
            raise GivenWrongError(f"{key} is given twice")
        found[key] = text
    return found


def changed(tuned: Tuned, given: Mapping[str, str]) -> dict[str, Any]:
    """What is tuned after `given`, whose values are texts; the empty one gives the plan's own back.

    Raises:
        GivenWrongError: a value that the key can't have.
    """
    kept = {key: value for key, value in tuned.items() if key not in given}
    return kept | {key: _value(key, text) for key, text in given.items() if text}


def _value(key: str, text: str) -> Any:
    part = KEYS[key]
    if part is None:
        try:
            return _POOL.validate_python(text)
        except ValidationError as error:
            raise _wrong(key, error) from None
    model = _PARTS[part]
    field = model.model_fields[key]
    if text == NO_LIMIT and field.default is None:
        return None
    failed: ValidationError | None = None
    for meant in _meanings(key, field, text):
        try:
            return to_jsonable_python(getattr(model.model_validate({key: meant}), key))
        except ValidationError as error:
            failed = failed or error  # of the text itself: what the operator wrote
    raise _wrong(key, failed)


def _meanings(key: str, field: FieldInfo, text: str) -> list[Any]:
    """What a text may stand for: itself, a number, or the list that some keys take."""
    try:
        told = tomllib.loads(f"told = {text}")["told"]
    except (ValueError, RecursionError):  # a number of thousands of digits is a plain ValueError
        told = None
    if get_origin(field.annotation) is tuple:
        return [told if isinstance(told, list) else _listed(key, text)]
    return [text, told] if isinstance(told, (int, float)) and not isinstance(told, bool) else [text]


def _listed(key: str, text: str) -> list[str]:
    """A list as `told` writes it. Hours are not cut at commas: `Mon,Wed 20:00-06:00 UTC` is one window."""
    if text == _EMPTY.get(key, NO_LIMIT):
        return []
    return [text] if key == "active" else [name for part in text.split(",") if (name := part.strip())]


def applied(plan: Plan, tuned: Tuned) -> Plan:
    """The plan as it is with what is tuned in place of its own, checked as a whole.

    Raises:
        GivenWrongError: they don't fit together, such as a stop below its limit.
    """
    parts: dict[str, Any] = {name: getattr(plan, name) for name in Plan.model_fields}
    for name in _PARTS:
        ours = {key: value for key, value in tuned.items() if KEYS.get(key) == name}
        parts[name] = dict(parts[name]) | ours
    try:
        return Plan.model_validate(parts)
    except ValidationError as error:
        # from None: pydantic's own message quotes values, addresses among them.
        raise GivenWrongError(
            f"what is tuned and the plan don't fit together: {_said(error)}; "
            "`tenantry tune` shows both, and `tenantry tune KEY=` gives the plan's own back"
        ) from None


def slower(limit: int | None, rate: float) -> int:
    """The limit of rows per second that is a quarter below what goes now: `rate` of them, or the limit.

    Of the two it is the lower; with no `rate` (0) it is the limit.

    Raises:
        GivenWrongError: there is neither, or no lower one.
    """
    known = [number for number in (limit, round(rate)) if number]
    if not known:
        raise GivenWrongError(
            "no row goes now, so that there is no pace to lower; `tenantry tune rows_per_second=N` sets one"
        )
    if min(known) == 1:
        raise GivenWrongError("1 row a second is the slowest pace; `tenantry pause` holds all batches")
    return min(_two_digits(min(known) * 0.75), min(known) - 1)


def faster(limit: int | None) -> int:
    """The limit of rows per second that is a quarter above the one in force.

    Raises:
        GivenWrongError: there is none, or no higher one.
    """
    if limit is None:
        raise GivenWrongError(
            "no limit of rows per second is in force, and so there is none to raise: the governor alone says "
            "how fast it goes, by the limits of its signals (`tenantry tune`)"
        )
    if limit == MOST_ROWS:
        raise GivenWrongError("that is the highest limit; `tenantry tune rows_per_second=none` takes it away")
    return min(max(_two_digits(limit * 1.25), limit + 1), MOST_ROWS)


def _two_digits(number: float) -> int:
    """To two digits, for people to read."""
    return int(float(f"{number:.2g}"))


def own(plan: Plan, key: str) -> Any:
    """What the plan itself says for a key; None where it says nothing."""
    part = KEYS[key]
    return None if part is None else to_jsonable_python(getattr(getattr(plan, part), key))


def told(key: str, value: Any) -> str:
    """A value as an operator writes it."""
    if value is None:
        return "as it was started" if key == WORKERS else NO_LIMIT
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or _EMPTY.get(key, NO_LIMIT)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrong(key: str, error: ValidationError | None) -> GivenWrongError:
    return GivenWrongError(f"{key}: {_said(error)}")


def _said(error: ValidationError | None) -> str:
    message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ") if error else ""
    return f"{message[:1].lower()}{message[1:]}"
