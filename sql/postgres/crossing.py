"""Sets rows aside that name another tenant's."""

from pathlib import Path

from psycopg import sql

from sql.job import JobSpec
from sql.named import load, plain
from sql.postgres.batch import JobSQL
from sql.postgres.connection import Connection
from sql.postgres.source import ROW, matches

STATEMENTS = load(Path(__file__).parent, "crossing")


def forget(connection: Connection, migration: int) -> None:
    """Take out of quarantine what was set aside for it before."""
    connection.execute(STATEMENTS.forget.compose(), {"migration": migration})


def set_aside(
    connection: Connection, job: int, spec: JobSpec, *, parent: sql.Identifier, on: dict[str, str], key: str
) -> int:
    """Put the rows of a job's part into quarantine whose parent by the foreign key `key` is another tenant's.

    `on` maps columns of the row to its parent's. Returns how many there are.
    """
    statement = STATEMENTS.set_aside.compose(
        table=plain(sql.Identifier(spec.schema_, spec.table)),
        parent=plain(parent),
        identity=JobSQL(spec).identity,
        column=plain(sql.Identifier(spec.tenant_column)),
        pairs=plain(matches(on, "r", ROW.as_string().strip('"'))),
    )
    return connection.execute(statement, {"job": job, "key": key}).rowcount
