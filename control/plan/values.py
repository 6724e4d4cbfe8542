"""What single values of a plan file may be: names, durations, sizes, limits."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    field_validator,
)

from sql.tenant_source import split_name
from worker.governor.window import parse

#: What a limit says that sets none.
NO_LIMIT = "none"

# So many digits and no more: 400 of them are no float any more, and what is infinite is no JSON.
_DURATION = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,9})?)(?P<unit>ms|s|m|h|d)")
_SIZE = re.compile(r"(?P<number>\d{1,18})\s*(?P<unit>B|kB|MB|GB|TB)?")
#: Numbers that are limits are below it.
_NUMBERS_END = 10**18
#: What a batch may be made to last, in seconds: none is done in less than the first, and for longer than the
#: second nobody waits for a row.
_SHORTEST, _LONGEST = 0.001, 10.0
#: Bytes of a path.
_PATH_ENDS = 4_000
_BYTES = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: str) -> float:
    """Read `100ms`, `10m`, `1.5h` as seconds.

    Raises:
        ValueError: not a number and one of ms, s, m, h, d.
    """
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r:.60} is not a duration; write 100ms, 10s, 10m, 1h or 1d")
    return float(match["number"]) * _SECONDS[match["unit"]]


def size(text: str | int) -> int:
    """Read `64MB`, `1GB` or a plain number as bytes; units are PostgreSQL's, of 1024.

    Raises:
        ValueError: not a whole number, or one with B, kB, MB, GB or TB.
    """
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r:.60} is not a size; write 512kB, 64MB or 1GB")
    return int(match["number"]) * _BYTES[match["unit"] or "B"]


def as_duration(number: float) -> str:
    """Write seconds as a plan does, to three digits: `5ms`, `1.5s`, `1h`."""
    unit = next((unit for unit, length in reversed(_SECONDS.items()) if abs(number) >= length), "ms")
    return f"{to_three_digits(number / _SECONDS[unit])}{unit if number else 's'}"


def as_size(number: float) -> str:
    """Write bytes as a plan does, to three digits: `512kB`, `64MB`."""
    unit = next((unit for unit, length in reversed(_BYTES.items()) if abs(number) >= length), "B")
    return f"{to_three_digits(number / _BYTES[unit])}{unit}"


def to_three_digits(number: float) -> str:
    """Write a number to three digits, and more where it has more before the point."""
    return f"{number:.0f}" if abs(number) >= 99.95 else f"{number:.3g}"


def _is_size(value: str | int) -> str | int:
    if size(value) <= 0:
        raise ValueError("a size of nothing limits nothing; write none to leave it unlimited")
    return value


def _is_duration(value: str) -> str:
    seconds(value)
    return value


def _is_target(value: str) -> str:
    if not _SHORTEST <= seconds(value) <= _LONGEST:
        raise ValueError(f"{value!r} is nothing to cut batches to; write a duration from 1ms to 10s, as 50ms")
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


def _is_path(value: str) -> str:
    path = Path(value)
    if path.name in {"", ".."}:
        raise ValueError(f"{value!r} names no file")
    # What stands beside it has its name and a little more; 255 bytes are what file systems take.
    if len(value.encode()) > _PATH_ENDS or any(len(part.encode()) > 200 for part in path.parts):
        raise ValueError(f"a name of more than 200 bytes in {value[:20]!r}…, or {_PATH_ENDS} in all")
    return value


def _is_pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return value


def _is_duration_limit(value: str) -> str:
    # With a stop of 0 s any standby would hold the run for ever.
    if value != NO_LIMIT and seconds(value) <= 0:
        raise ValueError(f"{value!r} is no limit; write a duration above 0, such as 10s, or none")
    return value


def _is_size_limit(value: str | int) -> str | int:
    return value if value == NO_LIMIT else _is_size(value)


def _is_number_limit(value: object) -> object:
    is_number = isinstance(value, (int, float)) and 0 < value < _NUMBERS_END
    if value != NO_LIMIT and not is_number:
        raise ValueError(f"{value!r:.60} is no limit; write a number above 0, or none")
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
#: How long a batch shall take.
Target = Annotated[str, AfterValidator(_is_target)]
Size = Annotated[str | int, AfterValidator(_is_size)]
#: Limits, each of its own kind; `none` sets none.
DurationLimit = Annotated[str, AfterValidator(_is_duration_limit)]
SizeLimit = Annotated[str | int, AfterValidator(_is_size_limit)]
NumberLimit = Annotated[int | float | str, BeforeValidator(_is_number_limit)]
FilePath = Annotated[str, AfterValidator(_is_path)]
Pattern = Annotated[str, AfterValidator(_is_pattern)]
#: Hours, one window of them or several.
Windows = Annotated[tuple[Annotated[str, AfterValidator(_is_window)], ...], BeforeValidator(_one_or_several)]


class Part(BaseModel):
    """A table of the file: what it does not know is an error, for a misspelt limit would limit nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_value(cls, value: object) -> object:
        # No key of a plan takes one, and true would count as 1.
        if isinstance(value, bool):
            raise ValueError(f"{str(value).lower()} is nothing that a key of a plan can be")  # noqa: TRY004
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _is_text_to_the_server(cls, value: object) -> object:
        # TOML can write U+0000, and the command line bytes that are no UTF-8: neither gets into the ledger.
        for text in _texts(value):
            if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError("a text holds U+0000 or what is no UTF-8; PostgreSQL takes neither")
        return value


def _texts(value: object) -> Iterator[str]:
    """The texts in a value; what is a part itself has looked at its own."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, BaseModel) and not isinstance(value, Part):
        yield from _texts(dict(value))
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, tuple):
        for one in value:
            yield from _texts(one)
