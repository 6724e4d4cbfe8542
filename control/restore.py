"""Restores a backup by `pg_restore`: into its own database or another, and over nothing without a word."""

import getpass
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import conninfo

from control import backup
from control.client_programs import beyond_environment, database_of, environment, let_run, tools
from control.older_servers import refuses, restore_by_script
from sql.errors import AnotherRunError, GivenWrongError
from sql.postgres import restore as statements
from sql.postgres.connection import Connection, connect, describe, resolve
from sql.postgres.session import take_migration
from worker import version

#: How many of the tables in the way are named.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that is in a database now; `tables` is how many it brought."""

    backup: str
    into: str
    tables: int
    overwritten: bool


def restore(
    path: Path,
    into: str,
    *,
    jobs: int = 1,
    overwrite: bool = False,
    notify: Callable[[str], None],
    go_on: Callable[[], None] = lambda: None,
) -> Restored:
    """Check the backup against its checksum, then bring it into the database at `into` (or `env:NAME`).

    One job does it in one transaction: all of it or nothing. With several a failure leaves half of it; into a
    server before PostgreSQL 17 by programs since then it is always one.
    `overwrite` replaces the tables that are there, and takes our own schemas away with them.

    Raises:
        GivenWrongError: no such backup, or tables of its are there and `overwrite` isn't given.
        BackupError: it isn't what was written, or `pg_restore` failed.
        AnotherRunError: a run is at work in that database.
        UnreachableError: no answer, or the login refused.
        LedgerVersionError: a later program has a migration in that database.
    """
    kept = backup.read(path)
    notify(f"checking {path}, {kept.bytes / 1e6:,.0f} MB")
    backup.check(kept, go_on)
    with connect(into, "restore") as connection:
        folder = tools(max(kept.server_version, connection.info.server_version))
        brought = backup.tables_in(folder, path)
        there = _in_the_way(connection, brought)
        if not overwrite:
            over_nothing(describe(resolve(into)), there)
        version.not_newer(connection)
        for migration in statements.migrations(connection):
            holder = take_migration(connection, migration)
            if holder is not None:
                raise AnotherRunError(migration, holder)
        notify(f"restoring {len(brought)} tables into {describe(resolve(into))}")
        _bring(
            folder,
            path,
            into,
            server_version=connection.info.server_version,
            jobs=jobs,
            overwrite=overwrite,
            go_on=go_on,
        )
        if overwrite:
            statements.drop_ours(connection)
        statements.analyze(connection)
    return Restored(str(path), describe(resolve(into)), len(brought), bool(there))


def over_nothing(into: str, there: Sequence[str]) -> None:
    """See that no table is in the way, in the database that is called `into`.

    Raises:
        GivenWrongError: some are.
    """
    if there:
        more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
        raise GivenWrongError(
            f"{into} has {', '.join(there[:_NAMED])}{more} already; name an empty database with --into, or "
            "say --overwrite: every row written since the backup is lost"
        )


def _in_the_way(connection: Connection, brought: list[str]) -> list[str]:
    there = statements.tables(connection)
    # The list goes on with the owner; a name may hold spaces as well as be the beginning of another.
    return [name for name in there if any(f"{table} ".startswith(f"{name} ") for table in brought)]


def _bring(
    folder: Path,
    path: Path,
    into: str,
    *,
    server_version: int,
    jobs: int,
    overwrite: bool,
    go_on: Callable[[], None],
) -> None:
    database, more = f"--dbname={_target(into)}", _environment(into)
    clean = ["--clean", "--if-exists"] if overwrite else []
    if refuses(folder, server_version):
        restore_by_script(folder, path, database, options=clean, more=more, go_on=go_on)
        return
    command = [
        str(folder / "pg_restore"),
        "--no-password",
        "--exit-on-error",
        # What is half restored must not stand for the whole; several jobs have a transaction each.
        *([f"--jobs={jobs}"] if jobs > 1 else ["--single-transaction"]),
        *clean,
        database,
        str(path),
    ]
    let_run(command, more, go_on)


def _target(into: str) -> str:
    """Name the database: pg_restore writes a script to its output where no --dbname tells it to connect."""
    name = database_of(into) or os.environ.get("PGDATABASE") or getpass.getuser()
    return conninfo.make_conninfo(beyond_environment(into), dbname=name)


def _environment(into: str) -> dict[str, str]:
    return environment(into) | {"PGAPPNAME": "tenantry pg_restore"}
