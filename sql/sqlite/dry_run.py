"""The statements of a script that does what a run does, for the `sqlite3` shell."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sql.named import load

STATEMENTS = load(Path(__file__).parent, "dry_run")


def session() -> Iterator[str]:
    """What a session of ours is like."""
    for statement in (STATEMENTS.foreign_keys_off, STATEMENTS.recursive_triggers_off):
        yield f"{statement.filled()};"


def legacy_alter_table(*, on: bool) -> str:
    """Whether a table that is renamed leaves what others have written of it as it is."""
    return f"{STATEMENTS.legacy_alter_table.filled(on='ON' if on else 'OFF')};"


def together(statements: Sequence[str]) -> Iterator[str]:
    """Statements as one transaction."""
    yield f"{STATEMENTS.begin.filled()};"
    yield from (ended(statement) for statement in statements)
    yield f"{STATEMENTS.commit.filled()};"


def ended(statement: str) -> str:
    """A statement with its semicolon, on a line of its own where a comment might take it along."""
    if statement.rstrip().endswith(";"):
        return statement
    return f"{statement}\n;" if "--" in statement else f"{statement};"
