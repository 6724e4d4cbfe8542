"""What must be in nothing that leaves the operator's hands: passwords and other secrets of the plan."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import psycopg
from psycopg import conninfo

from control.plan.model import Plan
from control.plan.notify import Notify
from sql.errors import GivenWrongError
from sql.postgres.connection import resolve
from worker import logs

#: A shorter password is no text to look for: it would be found in every word. `worker.logs.mask` hides it
#: where it stands in an address.
_SHORTEST = 4


def of(plan: Plan) -> tuple[str, ...]:
    """The secrets of a plan and of this process, plain and as addresses write them, the longest first."""
    urls = [plan.database.url, *plan.database.standbys, *([plan.redis.url] if plan.redis is not None else [])]
    words = [word for url in urls for word in _passwords(url.get_secret_value())]
    if plan.notify is not None:
        words += _of_webhook(plan.notify)
    words.append(os.environ.get("PGPASSWORD", ""))
    found = {text for word in words for text in _written(word)}
    return tuple(sorted((word for word in found if len(word) >= _SHORTEST), key=len, reverse=True))


def hidden(key: str, value: object, known: Sequence[str]) -> Any:
    """A value of JSON, under its key, with the `known` passwords hidden, and whatever else looks like one."""
    return logs.masked(key, _without(value, known))


def _without(value: object, known: Sequence[str]) -> object:
    match value:
        case str():
            for word in known:
                value = value.replace(word, logs.HIDDEN)
            return value
        case dict():
            return {str(_without(name, known)): _without(inner, known) for name, inner in value.items()}
        case list():
            return [_without(inner, known) for inner in value]
        case _:
            return value


def _passwords(address: str) -> Iterator[str]:
    # A variable that is not set on this machine, or what is no address, has none to hide here.
    with suppress(GivenWrongError):
        url = resolve(address)
        with suppress(psycopg.ProgrammingError):
            yield str(conninfo.conninfo_to_dict(url).get("password") or "")
        with suppress(ValueError):
            yield urlsplit(url).password or ""


def _of_webhook(notify: Notify) -> Iterator[str]:
    """What messages are signed with, and the path of the address, which of most webhooks is the password."""
    with suppress(GivenWrongError):
        parts = urlsplit(resolve(notify.url.get_secret_value()))
        yield parts.password or ""
        yield parts.query
        yield parts.path if parts.path.count("/") > 1 else parts.path.removeprefix("/")
    if notify.secret is not None:
        with suppress(GivenWrongError):
            yield resolve(notify.secret.get_secret_value())


def _written(password: str) -> set[str]:
    return {password, unquote(password), quote(password, safe=""), quote(password)}
