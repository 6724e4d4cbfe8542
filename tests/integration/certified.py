"""Certificates for servers and clients of a test, by the `openssl` program, and servers that speak TLS."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from control.embedded import postgres
from control.embedded.keeper import unprivileged_account
from control.embedded.postgres import EmbeddedPostgres
from tests import servers
from tests.integration.addresses import free_port
from tests.ownership import hand_over
from tests.waiting import until

#: The name in the servers' certificates; their address is not.
HOST = "localhost"
_VERSION = "18"


@dataclass(frozen=True)
class Certificates:
    """A folder with `.pem` and `.key` of `ca`, `other-ca`, `server` and `client`; both last are of `ca`."""

    folder: Path

    def file(self, name: str) -> Path:
        """One of the files."""
        return self.folder / name


@contextmanager
def certificates() -> Iterator[Certificates]:
    """Make them, in a folder that a server's account gets through to."""
    folder = Path(tempfile.mkdtemp(prefix="certificates-", dir="/tmp"))
    try:
        for name in ("ca", "other-ca"):
            _openssl(folder, "req", "-x509", *_request(name), "-days", "2", "-out", f"{name}.pem")
        for name in ("server", "client"):
            _openssl(folder, "req", *_request(name), "-out", f"{name}.csr")
            (folder / "names").write_text(f"subjectAltName = DNS:{HOST}\n")
            signed = (
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                "names",
            )
            _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
        folder.chmod(0o755)
        yield Certificates(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _request(name: str) -> tuple[str, ...]:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
    return (*key, "-subj", f"/CN={HOST if name == 'server' else name}")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def missing() -> str | None:
    """What is not installed of what these servers take; None where all of it is."""
    if shutil.which("openssl") is None or shutil.which("redis-server") is None:
        return "openssl or redis-server is not installed: apt-get install openssl redis-server"
    if not (_software() / "bin/postgres").exists():
        return "a PostgreSQL with TLS is not installed: make servers"
    return None


def _software() -> Path:
    return Path(servers.__file__).parent / "node_modules" / f"postgres-{_VERSION}" / "native"


@contextmanager
def postgres_with_tls(of: Certificates, listen: str = "127.0.0.1") -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL with the server's certificate, for as long as the context lasts."""
    account = unprivileged_account()
    own = of.folder / "postgres"
    own.mkdir()
    for name in ("server.pem", "server.key", "ca.pem"):
        shutil.copy(of.file(name), own / name)
    (own / "server.key").chmod(0o600)
    hand_over(own, account)
    settings = {
        "fsync": "off",
        "listen_addresses": listen,
        "ssl": "on",
        "ssl_cert_file": str(own / "server.pem"),
        "ssl_key_file": str(own / "server.key"),
        "ssl_ca_file": str(own / "ca.pem"),
    }
    with postgres.start_postgres(tcp=True, settings=settings, software=_software()) as server:
        yield server


@contextmanager
def redis_with_tls(of: Certificates, password: str) -> Iterator[int]:
    """A Redis that asks for a client's certificate and a password; its port."""
    port = free_port()
    configured = of.file("redis.conf")
    configured.write_text(
        f"bind 127.0.0.1\nport 0\ntls-port {port}\nsave ''\nrequirepass {password}\ntls-auth-clients yes\n"
        f"tls-cert-file {of.file('server.pem')}\ntls-key-file {of.file('server.key')}\n"
        f"tls-ca-cert-file {of.file('ca.pem')}\n"
    )
    with subprocess.Popen(["redis-server", configured], cwd="/tmp", stdout=subprocess.DEVNULL) as process:
        try:
            with redis.Redis(
                host=HOST,
                port=port,
                password=password,
                ssl=True,
                ssl_ca_certs=str(of.file("ca.pem")),
                ssl_certfile=str(of.file("client.pem")),
                ssl_keyfile=str(of.file("client.key")),
            ) as client:
                until(lambda: _pings(client), "the Redis")
            yield port
        finally:
            process.terminate()


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
