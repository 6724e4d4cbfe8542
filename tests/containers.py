"""docker-compose.yml as Compose reads it, for tests that hold it against the code or start what it starts."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[1]
COMPOSE = REPOSITORY / "docker-compose.yml"
_ROLES = (
    *("POSTGRES", "REPLICATION", "OWNER", "APPLICATION"),
    *("CONTROLLER", "WORKER", "EXPORTER", "GRAFANA"),
)
#: What an operator has to give: a file that asks for more is one that the documents no longer describe.
PASSWORDS = {f"{who}_PASSWORD": f"of {who}" for who in _ROLES}

_VARIABLE = re.compile(r"\$(?:(?P<sign>\$)|\{(?P<name>\w+)(?:(?P<how>:[-?])(?P<what>[^}]*))?\})")


def read_yaml(path: Path) -> Any:
    """Read one document as plain lists and dictionaries, merge keys resolved."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


@cache
def services() -> dict[str, dict[str, Any]]:
    """Every service with the operator's passwords put in, and the defaults of what else may be given."""
    found: dict[str, dict[str, Any]] = _filled(read_yaml(COMPOSE), PASSWORDS)["services"]
    return found


def ours() -> dict[str, dict[str, Any]]:
    """The services that run the program."""
    return {name: each for name, each in services().items() if each["image"].startswith("tenantry:")}


def words(service: Mapping[str, Any]) -> list[str]:
    """The command of a service."""
    return list(service.get("command", []))


def mounts(service: Mapping[str, Any]) -> dict[str, Path]:
    """What of the repository a service sees: the path in the container, and the file or folder that it is."""
    split = (each.split(":") for each in service.get("volumes", []))
    return {parts[1]: REPOSITORY / parts[0] for parts in split if parts[0].startswith(".")}


def _filled(value: Any, given: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: _filled(each, given) for key, each in value.items()}
        case list():
            return [_filled(each, given) for each in value]
        case str():
            return _VARIABLE.sub(lambda found: _value(found, given), value)
        case _:
            return value


def _value(found: re.Match[str], given: Mapping[str, str]) -> str:
    if found["sign"]:
        return "$"
    if found["how"] == ":-":
        return given.get(found["name"], found["what"])
    return given[found["name"]]
