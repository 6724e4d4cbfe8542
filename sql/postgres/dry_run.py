"""Composes the statements of a script that does a run's work without the program."""

from collections.abc import Sequence
from pathlib import Path

from psycopg import sql

from sql.named import load
from sql.postgres.batch import BATCH
from sql.postgres.source import Rules, source_sql, unfilled
from sql.tenant_source import TenantSource

STATEMENTS = load(Path(__file__).parent, "dry_run")


def session() -> sql.Composed:
    """What the script sets first."""
    return STATEMENTS.session.compose()


def announced(tables: Sequence[sql.Identifier]) -> sql.Composed:
    """What comes before a statement with a strong lock, in its transaction."""
    return STATEMENTS.announced.compose(tables=sql.SQL(", ").join(tables))


def without_triggers(update: sql.Composed) -> tuple[sql.Composed, ...]:
    """The update as a session runs it that holds the application's triggers off."""
    return BATCH.hold_triggers.compose(), update, BATCH.let_triggers_run.compose()


def fill(table: sql.Identifier, source: TenantSource, rules: Rules) -> tuple[sql.Composed, sql.Composed]:
    """The whole backfill of a table as one UPDATE, and what ends the script where a row is left over."""
    needed = unfilled(rules.column, rules.sentinel)
    fragments = source_sql(source, rules)
    update = STATEMENTS.fill.compose(
        table=table,
        tenant=sql.Identifier(rules.column),
        value=fragments.value,
        source=sql.SQL("FROM {}").format(fragments.tables) if fragments.tables is not None else sql.SQL(""),
        unfilled=needed,
        resolved=fragments.resolved,
    )
    expect = STATEMENTS.expect_filled.compose(
        table=table, name=sql.Literal(table.as_string()), unfilled=needed
    )
    return update, expect
