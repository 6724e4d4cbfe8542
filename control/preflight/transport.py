"""Whether a password crosses a network in the clear: to the database, its standbys or the queue."""

import ipaddress
import os
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from psycopg import conninfo

from control.plan.model import Plan
from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.errors import GivenWrongError
from sql.postgres.connection import Connection, describe, resolve

_TLS = ("require", "verify-ca", "verify-full")


def look(ground: Ground) -> Iterator[Finding]:
    """What there is to say of it; only the database's connection, which is there, is known for sure."""
    yield none_of(
        "passwords on the way",
        [*_to_database(ground.connection), *_to_standbys(ground.plan), *_to_queue(ground.plan)],
        level="warn",
        way_out="take ?sslmode=verify-full&sslrootcert=… for the database, rediss://…?ssl_ca_certs=… for the "
        "queue: who is on the way reads what goes there, and may change it",
        fine="none crosses a network without TLS",
    )


def _to_database(connection: Connection) -> Iterator[str]:
    info, pgconn = connection.info, connection.pgconn
    if pgconn.used_password and not pgconn.ssl_in_use and not is_here(info.hostaddr or info.host):
        yield f"{info.dbname} at {info.host}"


def _to_standbys(plan: Plan) -> Iterator[str]:
    for standby in plan.database.standbys:
        # One that can't be read is said by the look at standbys.
        with suppress(GivenWrongError):
            url = resolve(standby.get_secret_value())
            where = describe(url)
            given = conninfo.conninfo_to_dict(url)
            mode = given.get("sslmode") or os.environ.get("PGSSLMODE")
            known = given.get("password") or os.environ.get("PGPASSWORD")
            host = str(given.get("hostaddr") or given.get("host") or os.environ.get("PGHOST", ""))
            if known and mode not in _TLS and not is_here(host):
                yield where


def _to_queue(plan: Plan) -> Iterator[str]:
    if plan.redis is None:
        return
    with suppress(GivenWrongError, ValueError):
        parts = urlsplit(resolve(plan.redis.url.get_secret_value()))
        if parts.scheme == "redis" and parts.password and not is_here(parts.hostname or ""):
            yield f"Redis at {parts.hostname}"


def is_here(host: str) -> bool:
    """Whether a host, or its address, is this machine itself; a socket's folder is, and so is none."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
