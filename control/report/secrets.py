"""What must be in nothing that leaves the operator's hands: the plan's passwords and webhook."""

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, Literal, get_args, get_origin
from urllib.parse import quote, unquote, urlsplit

import psycopg
from psycopg import conninfo
from pydantic import BaseModel, SecretStr

from control.plan.model import Plan
from sql.errors import GivenWrongError
from sql.postgres.connection import resolve
from worker import logs

#: A shorter password is no text to look for: it would be found in every word. `worker.logs.mask` hides it
#: where it stands in an address.
_SHORTEST = 4
#: What libpq takes for passwords, of the connection and of its key.
_PASSWORDS = ("password", "sslpassword")


def of(plan: Plan) -> tuple[str, ...]:
    """The secrets of a plan, plain and as addresses, strings and plans write them, the longest first.

    They are the passwords of its addresses, what its webhook's messages are signed with, and all of the
    webhook's address behind the host: of Slack's that is the password.
    """
    urls = [plan.database.url, *plan.database.standbys, *([plan.redis.url] if plan.redis is not None else [])]
    words = [word for url in urls for word in _of_address(_resolved(url))]
    words.append(os.environ.get("PGPASSWORD", ""))
    if plan.notify is not None:
        words += _of_webhook(_resolved(plan.notify.url))
        if plan.notify.secret is not None:
            secret = _resolved(plan.notify.secret)
            words += [secret, secret.removeprefix("whsec_")]
    found = {text for word in words for text in _written(word)}
    return tuple(sorted((word for word in found if len(word) >= _SHORTEST), key=len, reverse=True))


def hidden(key: str, value: Any, known: Sequence[str]) -> Any:
    """A value under its key, with the `known` secrets hidden, and whatever else looks like a password.

    What it is made of stays what it is, whatever a password happens to be: names of fields, numbers, times,
    and words out of a closed list.
    """
    match value:
        case BaseModel():
            fields = type(value).model_fields
            open_ = {name: getattr(value, name) for name in fields if not _closed(fields[name].annotation)}
            return value.model_copy(
                update={name: hidden(name, inner, known) for name, inner in open_.items()}
            )
        case Enum():
            return value
        case str():
            for word in known:
                value = value.replace(word, logs.HIDDEN)
            return logs.masked(key, value)
        case dict():
            return {name: hidden(str(name), inner, known) for name, inner in value.items()}
        case list() | tuple():
            return type(value)(hidden(key, inner, known) for inner in value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return dataclasses.replace(
                value, **{name: hidden(name, one, known) for name, one in inner.items()}
            )
        case _:
            return value


def _closed(annotation: object) -> bool:
    return get_origin(annotation) is Literal or any(_closed(part) for part in get_args(annotation))


def _resolved(address: SecretStr) -> str:
    # A variable that is not set on this machine has nothing to hide here.
    with suppress(GivenWrongError):
        return resolve(address.get_secret_value())
    return ""


def _of_address(url: str) -> Iterator[str]:
    with suppress(psycopg.ProgrammingError):
        parts = conninfo.conninfo_to_dict(url)
        yield from (str(parts.get(name) or "") for name in _PASSWORDS)
    with suppress(ValueError):
        yield urlsplit(url).password or ""


def _of_webhook(url: str) -> Iterator[str]:
    with suppress(ValueError):
        parts = urlsplit(url)
        yield parts.password or ""
        yield parts._replace(scheme="", netloc="").geturl()


def _written(password: str) -> set[str]:
    """As it is, in an address, quoted in a connection string, and each as a plan's text escapes it."""
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    found = {password, unquote(password), quote(password, safe=""), quote(password), quoted}
    return found | {json.dumps(text, ensure_ascii=False)[1:-1] for text in found}
