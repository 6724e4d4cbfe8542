"""The queue of a migration: the operator's Redis, or a Valkey of our own for as long as a run lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from psycopg import conninfo

from control.plan.model import Plan
from sql.errors import GivenWrongError, UnreachableError
from sql.postgres.connection import resolve
from worker.broker import client


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
        url = resolve(plan.redis.url.get_secret_value())
        _ask(url)
        yield url
        return
    # Only a run without a Redis needs the extra `embedded`.
    from control.embedded.valkey import start_valkey  # noqa: PLC0415

    with start_valkey() as server:
        yield server.url


def _ask(url: str) -> None:
    try:
        asked = client(url)
    except ValueError:
        # Its message may quote the address, and with it the password.
        raise GivenWrongError("the [redis] address can't be read; write redis://host:port/0") from None
    with asked:
        where = asked.get_connection_kwargs()
        server = f"Redis at {where.get('path') or where.get('host')}"
        try:
            asked.ping()
        except redis.RedisError as error:
            raise UnreachableError(server, str(error).splitlines()[0]) from None
