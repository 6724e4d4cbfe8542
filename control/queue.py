"""The queue of a migration: the operator's Redis, or a Valkey of our own for as long as a run lasts."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from psycopg import conninfo

from control.plan.model import Plan
from sql.errors import GivenWrongError, UnreachableError
from sql.postgres.connection import is_elsewhere, resolve
from worker.broker import client

#: Files that a `rediss` address may name.
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: What ends a connection before a server could ask who we are.
_BEFORE_THAT = (ssl.SSLCertVerificationError, ConnectionRefusedError, socket.gaierror, TimeoutError)


def namespace_of(plan: Plan) -> str:
    """Give the prefix of a migration's keys: two databases may share a Redis, and two plans a name.

    Raises:
        GivenWrongError: the database's address names a variable that is not set.
    """
    database = conninfo.conninfo_to_dict(resolve(plan.database.url.get_secret_value())).get("dbname")
    return f"tenantry:{database or 'default'}:{plan.name}"


@contextmanager
def queue_of(plan: Plan) -> Iterator[str]:
    """Give the address of a queue server that answers; without `[redis]` one is started for the context.

    Raises:
        GivenWrongError: the address can't be read, or names a variable that is not set.
        UnreachableError: no answer, or the login refused.
    """
    if plan.redis is not None:
        given = plan.redis.url.get_secret_value()
        url = resolve(given)
        _ask(url, f"[redis] url, {given}" if is_elsewhere(given) else "[redis] url")
        yield url
        return
    # Only a run without a Redis needs the extra `embedded`.
    from control.embedded.valkey import start_valkey  # noqa: PLC0415

    with start_valkey() as server:
        yield server.url


def _ask(url: str, place: str) -> None:
    """See that it answers; `place` is where the address stands."""
    try:
        asked = client(url)
    except ValueError:
        # Its message may quote the address, and with it the password.
        raise GivenWrongError("the [redis] address can't be read; write redis://host:port/0") from None
    with asked:
        where = asked.get_connection_kwargs()
        _readable(where, place)
        server = f"Redis at {where.get('path') or where.get('host')}"
        try:
            asked.ping()
        except redis.RedisError as error:
            reason = str(error).splitlines()[0]
            if _may_want_a_certificate(asked, error):
                reason += (
                    "; if it asks for a client's certificate, name one: "
                    f"?ssl_certfile=PATH&ssl_keyfile=PATH in {place}"
                )
            raise UnreachableError(server, reason) from None


def _readable(where: Mapping[str, Any], place: str) -> None:
    """See that the files of an address are there: what TLS says of one that isn't names none."""
    for option in _FILES:
        if (path := where.get(option)) is not None:
            try:
                Path(path).open("rb").close()
            except OSError as error:
                raise GivenWrongError(f"{option} in {place}: {path}: {error.strerror}") from None


def _may_want_a_certificate(asked: "redis.Redis", error: redis.RedisError) -> bool:
    """Whether a server hung up that knows nothing of us: its alert may come late, or be lost."""
    where, causes = asked.get_connection_kwargs(), list(_behind(error))
    return (
        issubclass(asked.connection_pool.connection_class, redis.SSLConnection)
        and where.get("ssl_certfile") is None
        and isinstance(error, redis.ConnectionError)
        and not isinstance(error, redis.AuthenticationError)
        and not any(isinstance(one, _BEFORE_THAT) for one in causes)
    )


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
