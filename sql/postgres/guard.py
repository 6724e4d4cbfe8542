"""The statements of the write guard, and how often it was needed."""

from pathlib import Path

from sql.named import load
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "guard")


def uses(connection: Connection) -> dict[str, int]:
    """How often each guard was needed since it was made, by the name of its sequence."""
    return {name: last or 0 for name, last in connection.execute(STATEMENTS.uses.compose())}
