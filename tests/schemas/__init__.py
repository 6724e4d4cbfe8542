"""Schemas that tests migrate, each with its plan."""

from pathlib import Path

from tests.schemas import large

FOLDER = Path(__file__).parent


def statements(name: str) -> str:
    """The SQL that makes a schema and its rows."""
    if name == "large":
        return large.statements()
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def plan(name: str) -> str:
    """Its plan; the database is in `DATABASE_URL`."""
    if name == "large":
        return large.plan()
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
