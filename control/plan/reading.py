"""Reads a plan file; whatever is wrong with it becomes one line that names the place."""

import math
import re
import tomllib
from pathlib import Path as FilePath
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from control.plan.model import Plan, nearest
from control.plan.positions import Path, positions
from sql.errors import PlanError
from sql.tenant_source import SOURCES
from worker.logs import mask

#: tomllib tells the line in words only (as a number from Python 3.14 on).
_TOML_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
#: What no plan has: tomllib takes a time for a dotted key that grows with the square of its parts, minutes
#: for one of 100 kB. Each part is taken whole, so that looking takes a time that grows with the file's.
_ENDLESS_KEY = re.compile(
    r"""(?<![\w."'-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){200}"""
)

#: Letters of what is said; it may quote a value of the plan, however long that is.
_LONGEST = 1_000


def read_plan(path: FilePath) -> Plan:
    """Read and check a plan, as far as that goes without a database.

    Raises:
        PlanError: no such file, not UTF-8, not TOML, or not a plan; names the file and, where there is
            one, the line. No password is in its message.
    """
    text = _read(path)
    if (endless := _ENDLESS_KEY.search(text)) is not None:
        line = text.count("\n", 0, endless.start()) + 1
        raise PlanError("not a plan: a key of more than 200 parts", file=str(path), line=line)
    try:
        document = tomllib.loads(text)
        lines = positions(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        line = int(place["line"]) if place and place["line"] else text.count("\n") + 1
        raise PlanError(f"not TOML: {_TOML_PLACE.sub('', str(error))}", file=str(path), line=line) from None
    except ValueError:
        # Python reads no number of over 4,300 digits, and tomllib doesn't say where one is.
        raise PlanError("not a plan: a number in it has thousands of digits", file=str(path)) from None
    except RecursionError:
        raise PlanError("not a plan: nested too deeply", file=str(path)) from None
    try:
        return Plan.model_validate(document).read_from(str(path), lines)
    except ValidationError as error:
        # from None: pydantic's own message quotes the values.
        raise _as_one(error, document, lines, str(path)) from None


def _read(path: FilePath) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise PlanError("no such file; `tenantry init` writes a plan", file=str(path)) from None
    except OSError as error:
        raise PlanError(f"can't be read: {error.strerror}", file=str(path)) from None
    try:
        # Editors on Windows put a byte order mark in front.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlanError("not UTF-8", file=str(path), line=content.count(b"\n", 0, error.start) + 1) from None


def _as_one(error: ValidationError, document: dict[str, Any], lines: dict[Path, int], file: str) -> PlanError:
    """Say the first of all that is wrong, with its line, and how many more there are."""
    details = error.errors(include_url=False)
    paths = [_path(detail) for detail in details]
    found: list[tuple[bool, float, str]] = []
    for detail, path in zip(details, paths, strict=True):
        # pydantic calls an array too short when all its elements are wrong, each told already.
        if detail["type"] == "too_short" and any(p[: len(path)] == path and p != path for p in paths):
            continue
        # A key that is missing may only be misspelt: then that is what to say.
        missing = detail["type"] == "missing"
        found.append((missing, _line(path, lines), _message(detail, path, document)))
    _, line, message = min(found, key=lambda one: one[:2])
    if len(found) > 1:
        message += f" (and {len(found) - 1} more)"
    # Masked first: half a password would not be known for one.
    said = mask(message)
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
    return PlanError(said, file=file, line=None if math.isinf(line) else int(line))


def _path(detail: ErrorDetails) -> Path:
    """Lead from the top of the document to what is wrong."""
    told: Path | None = detail.get("ctx", {}).get("path")
    if told is not None:
        return told
    loc = detail["loc"]
    # pydantic puts the kind of a tenant source into the way, which the document does not have.
    kinds = [at for at in range(3, len(loc)) if loc[0] == "tables" and loc[at - 1] in {"tenant", "otherwise"}]
    return tuple(part for at, part in enumerate(loc) if at not in kinds)


def _line(path: Path, lines: dict[Path, int]) -> float:
    """Find the line of the deepest part of the path that the file has; after all lines if it has none."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), math.inf)


def _message(detail: ErrorDetails, path: Path, document: dict[str, Any]) -> str:
    match detail["type"]:
        case "plan":
            return detail["msg"]
        case "extra_forbidden":
            known = _known(detail["loc"])
            where = f" in {_dotted(path[:-1])}" if path[:-1] else ""
            hint = nearest(str(path[-1]), known) or f"; known here: {', '.join(known)}"
            return f"unknown key {str(path[-1])!r}{where}{hint}"
        case "missing":
            where = f" in {_dotted(path[:-1])}" if path[:-1] else ""
            return f"missing key {str(path[-1])!r}{where}"
        case "tenant_source":
            return f"{_dotted(path)}: {detail['msg']}{_source_hint(path, document)}"
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            return f"{_dotted(path)}: {message[0].lower()}{message[1:]}"


def _source_hint(path: Path, document: dict[str, Any]) -> str:
    given: Any = document
    for part in path:
        given = given[part]
    misspelt = [nearest(key, SOURCES) for key in given] if isinstance(given, dict) else []
    return next(filter(None, misspelt), "")


def _known(loc: Path) -> list[str]:
    """List the keys that the part of a plan at `loc` may have."""
    models: list[type[BaseModel]] = [Plan]
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        if part in SOURCES and SOURCES[str(part)] in models:
            models = [SOURCES[str(part)]]
        else:
            models = [
                inner
                for model in models
                if part in model.model_fields
                for inner in _models_in(model.model_fields[str(part)].annotation)
            ]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _dotted(path: Path) -> str:
    """Write a path as an operator reads it: `tables[2].rls.mode`, counted from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
