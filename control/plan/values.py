"""What single values of a plan file may be: names, durations, sizes, limits."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from sql.tenant_source import split_name
from worker.governor.window import parse

#: What a limit says that sets none.
NO_LIMIT = "none"

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d)")
_SIZE = re.compile(r"(?P<number>\d+)\s*(?P<unit>B|kB|MB|GB|TB)?")
_BYTES = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: str) -> float:
    """Read `100ms`, `10m`, `1.5h` as seconds.

    Raises:
        ValueError: not a number and one of ms, s, m, h, d.
    """
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is not a duration; write 100ms, 10s, 10m, 1h or 1d")
    return float(match["number"]) * _SECONDS[match["unit"]]


def size(text: str | int) -> int:
    """Read `64MB`, `1GB` or a plain number as bytes; units are PostgreSQL's, of 1024.

    Raises:
        ValueError: not a whole number, or one with B, kB, MB, GB or TB.
    """
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a size; write 512kB, 64MB or 1GB")
    return int(match["number"]) * _BYTES[match["unit"] or "B"]


def _is_size(value: str | int) -> str | int:
    if size(value) <= 0:
        raise ValueError("a size of nothing limits nothing; write none to leave it unlimited")
    return value


def _is_duration(value: str) -> str:
    seconds(value)
    return value


def _is_name(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError(f"{value!r} is not a name")
    # PostgreSQL cuts names at 63 bytes without a word: a longer one would be another name than the plan's.
    if len(value.encode()) > 63:
        raise ValueError(f"{value!r} has {len(value.encode())} bytes; PostgreSQL's names end at 63")
    return value


def _is_table(value: str) -> str:
    for part in split_name(value):
        _is_name(part)
    return value


def _is_pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return value


def _is_duration_limit(value: str) -> str:
    return value if value == NO_LIMIT else _is_duration(value)


def _is_size_limit(value: str | int) -> str | int:
    return value if value == NO_LIMIT else _is_size(value)


def _is_number_limit(value: float | str) -> float | str:
    if value != NO_LIMIT and (isinstance(value, str) or value <= 0):
        raise ValueError(f"{value!r} is no limit; write a number above 0, or none")
    return value


def _is_window(value: str) -> str:
    parse(value)
    return value


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Name = Annotated[str, AfterValidator(_is_name)]
#: A setting of the operator's own, as `SET` takes it: PostgreSQL asks for at least one dot in it.
Setting = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]
TableName = Annotated[str, AfterValidator(_is_table)]
Duration = Annotated[str, AfterValidator(_is_duration)]
Size = Annotated[str | int, AfterValidator(_is_size)]
#: Limits, each of its own kind; `none` sets none.
DurationLimit = Annotated[str, AfterValidator(_is_duration_limit)]
SizeLimit = Annotated[str | int, AfterValidator(_is_size_limit)]
NumberLimit = Annotated[int | float | str, AfterValidator(_is_number_limit)]
Pattern = Annotated[str, AfterValidator(_is_pattern)]
#: Hours, one window of them or several.
Windows = Annotated[tuple[Annotated[str, AfterValidator(_is_window)], ...], BeforeValidator(_one_or_several)]


class Part(BaseModel):
    """A table of the file: what it does not know is an error, for a misspelt limit would limit nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
