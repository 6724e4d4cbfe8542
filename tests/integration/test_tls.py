"""TLS to PostgreSQL and Redis: what is right gets through, and whatever is wrong is one clear line."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from control.demo import sample as sample_graph
from control.embedded.postgres import EmbeddedPostgres
from tests.integration.certified import (
    HOST,
    Certificates,
    certificates,
    missing,
    postgres_with_tls,
    redis_with_tls,
)
from tests.integration.operating import TENANTRY, complaint
from tests.servers import start_postgres

pytestmark = pytest.mark.full

_PASSWORD = "of-the-queue"


def _own_address() -> str:
    """The address from which this machine would go to others; nothing is sent. Loopback where it can't."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address


_OWN = _own_address()


@dataclass(frozen=True)
class Guarded:
    """Both servers, and a folder with a plan of the sample."""

    server: EmbeddedPostgres
    queue: int
    of: Certificates
    folder: Path

    def database(self, options: str, host: str = HOST) -> str:
        """The database's address with these options; `{folder}` is the certificates'."""
        given = options.format(folder=self.of.folder)
        return f"postgresql://postgres:{self.server.password}@{host}:{self.server.port}/graph?{given}"

    def redis(self, options: str, *, scheme: str = "rediss", host: str = HOST) -> str:
        """The queue's address, the same way."""
        return f"{scheme}://:{_PASSWORD}@{host}:{self.queue}/0?{options.format(folder=self.of.folder)}"

    def types(
        self, *arguments: str, database: str, queue: str = "redis://127.0.0.1:1"
    ) -> "subprocess.CompletedProcess[str]":
        """Type a command with these addresses."""
        return subprocess.run(
            [TENANTRY, *arguments],
            cwd=self.folder,
            env=self.environment(database, queue),
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    @staticmethod
    def environment(database: str, queue: str) -> dict[str, str]:
        """What a process is told."""
        return os.environ | {"DATABASE_URL": database, "REDIS_URL": queue}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Both servers with certificates; a plan that takes its addresses from the environment."""
    if (lacking := missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(lacking)
        pytest.skip(lacking)
    with ExitStack() as stack:
        of = stack.enter_context(certificates())
        server = stack.enter_context(postgres_with_tls(of, ",".join({"127.0.0.1", _OWN})))
        queue = stack.enter_context(redis_with_tls(of, _PASSWORD))
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE graph")
            access = server.folder / "data/pg_hba.conf"
            access.write_text(access.read_text() + f"\nhost all all {_OWN}/32 scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
        with psycopg.connect(server.url("graph"), autocommit=True) as connection:
            sample_graph.create(connection)
            sample_graph.fill(connection, entities=500, relations=1_000)
        made = Guarded(server, queue, of, tmp_path_factory.mktemp("plan"))
        written = made.types("init", database=server.url("graph"))
        assert written.returncode == 0, written.stderr
        with (made.folder / "migration.toml").open("a") as plan:
            plan.write('[redis]\nurl = "env:REDIS_URL"\n')
        yield made


_RIGHT = "sslmode=verify-full&sslrootcert={folder}/ca.pem"
_RIGHT_OF_REDIS = (
    "ssl_ca_certs={folder}/ca.pem&ssl_certfile={folder}/client.pem&ssl_keyfile={folder}/client.key"
)


def test_a_backfill_goes_over_tls_with_the_right_authorities(guarded: Guarded) -> None:
    database, queue = guarded.database(_RIGHT), guarded.redis(_RIGHT_OF_REDIS)
    worker = subprocess.Popen(
        [TENANTRY, "worker"],
        cwd=guarded.folder,
        env=guarded.environment(database, queue),
        stderr=subprocess.DEVNULL,
    )
    try:
        ran = guarded.types("run", "--to", "backfill", database=database, queue=queue)
        assert ran.returncode == 0, ran.stderr
        with psycopg.connect(guarded.server.url("graph")) as connection:
            asked = (
                "SELECT bool_and(s.ssl) FROM pg_stat_ssl AS s JOIN pg_stat_activity AS a USING (pid) "
                "WHERE a.application_name LIKE 'tenantry worker %'"
            )
            assert connection.execute(asked).fetchone() == (True,)
    finally:
        worker.terminate()
        worker.wait(60)


@pytest.mark.parametrize(
    ("options", "host", "why"),
    [
        ("sslmode=verify-full&sslrootcert={folder}/other-ca.pem", HOST, "certificate verify failed"),
        (_RIGHT, "127.0.0.1", 'does not match host name "127.0.0.1"'),
        ("sslmode=verify-full&sslrootcert={folder}/none.pem", HOST, "none.pem"),
        ("sslmode=nothing", HOST, 'invalid sslmode value: "nothing"'),
    ],
    ids=["other authority", "other host", "no such file", "no such mode"],
)
def test_a_server_that_can_t_be_trusted_is_refused_in_one_line(
    guarded: Guarded, options: str, host: str, why: str
) -> None:
    ended = guarded.types("status", database=guarded.database(options, host))
    assert ended.returncode in {1, 2}, ended.stderr
    assert why in complaint(ended.stderr)
    assert guarded.server.password not in ended.stderr


def test_a_server_without_tls_is_refused_where_it_is_required(guarded: Guarded) -> None:
    with start_postgres(tcp=True, settings={"fsync": "off"}) as plain:
        url = plain.tcp_url() + "?sslmode=require"
        ended = guarded.types("status", database=url)
        assert ended.returncode == 1
        assert "server does not support SSL, but SSL was required" in complaint(ended.stderr)
        assert plain.password not in ended.stderr


_OPTION = _RIGHT_OF_REDIS.partition("&")


@pytest.mark.parametrize(
    ("options", "scheme", "host", "why"),
    [
        (_RIGHT_OF_REDIS.replace("/ca.pem", "/other-ca.pem"), "rediss", HOST, "certificate verify failed"),
        (_RIGHT_OF_REDIS, "rediss", "127.0.0.1", "IP address mismatch"),
        (_OPTION[2], "rediss", HOST, "certificate verify failed"),
        (
            _OPTION[0],
            "rediss",
            HOST,
            "name one: ?ssl_certfile=PATH&ssl_keyfile=PATH in [redis] url, env:REDIS_URL",
        ),
        ("", "redis", HOST, "onnection"),
        (_RIGHT_OF_REDIS.replace("client.key", "none.key"), "rediss", HOST, "none.key: No such file"),
    ],
    ids=["other authority", "other host", "no authority", "no certificate of ours", "plain", "no such file"],
)
def test_a_queue_that_can_t_be_trusted_or_won_t_trust_us_is_one_line(
    guarded: Guarded, options: str, scheme: str, host: str, why: str
) -> None:
    queue = guarded.redis(options, scheme=scheme, host=host)
    ended = guarded.types("worker", database=guarded.database(_RIGHT), queue=queue)
    assert ended.returncode in {1, 2}, ended.stderr
    said = complaint(ended.stderr)
    assert said.startswith("tenantry: ")
    assert why in said
    assert ("name one: " in said) == ("name one: " in why), "only who shows no certificate is told to"
    assert _PASSWORD not in ended.stderr


@pytest.mark.skipif(_OWN.startswith("127."), reason="this machine has no address but its own loopback")
@pytest.mark.parametrize(
    ("mode", "scheme", "told"),
    [
        ("sslmode=disable", "redis", f"graph at {_OWN}; Redis at db.internal"),
        ("sslmode=disable", "rediss", f"graph at {_OWN}"),
        ("sslmode=require", "redis", "Redis at db.internal"),
        ("sslmode=require", "rediss", None),
    ],
)
def test_check_warns_of_passwords_that_cross_a_network_in_the_clear(
    guarded: Guarded, mode: str, scheme: str, told: str | None
) -> None:
    queue = f"{scheme}://:{_PASSWORD}@db.internal/0"
    looked = guarded.types("check", database=guarded.database(mode, _OWN), queue=queue).stdout
    [line] = [line for line in looked.splitlines() if "passwords on the way" in line]
    if told is None:
        assert line == "✓ passwords on the way: none crosses a network without TLS"
    else:
        assert line == f"! passwords on the way: {told}"
