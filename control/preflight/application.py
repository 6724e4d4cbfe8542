"""What the application sends that the migration would break for a while, as pg_stat_statements has it."""

from collections.abc import Iterator

import psycopg

from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.postgres import surroundings

_READ_EVERY = (
    "prepared, they fail once with 0A000 (cached plan must not change result type) after stage `columns` and "
    "at rollback: name the columns, or let the application retry or reconnect"
)
_MEETING = (
    "while both keys stand, two that bring the same new id at once get 23505: let the application retry, or "
    "use DO NOTHING without a target and then UPDATE; from `keys` on a target must name the tenant's column "
    "too, or else the constraint by its name, which stays"
)


def look(ground: Ground) -> Iterator[Finding]:
    """Every fact about the application's statements; one where they can't be seen."""
    tables = ground.original.tables
    keyed = [
        tables[table.name].name
        for table in ground.plan.tables
        if (table.primary_key is not None or table.unique) and table.name in tables
    ]
    try:
        with ground.connection.transaction():
            every = surroundings.statements(
                ground.connection, surroundings.EVERY_COLUMN, [found.name for found in tables.values()]
            )
            meeting = surroundings.statements(ground.connection, surroundings.ON_CONFLICT, keyed)
    except (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.InsufficientPrivilege) as error:
        yield _unseen(str(error.diag.message_primary))
        return
    if every is None or meeting is None:
        yield _unseen("this database has no pg_stat_statements")
        return
    fine = "none was sent since the server counts them"
    yield none_of("statements that read every column", every, level="warn", way_out=_READ_EVERY, fine=fine)
    yield none_of("statements with ON CONFLICT", meeting, level="warn", way_out=_MEETING, fine=fine)


def _unseen(why: str) -> Finding:
    way_out = (
        "look in the code for prepared SELECT * and for ON CONFLICT, or CREATE EXTENSION pg_stat_statements "
        "(in shared_preload_libraries): both kinds may fail once in the course of it"
    )
    return Finding("warn", "application's statements", f"not seen: {why}", way_out)
