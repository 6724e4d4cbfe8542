"""Schemas that tests migrate, each with its plan."""

from pathlib import Path

FOLDER = Path(__file__).parent


def statements(name: str) -> str:
    """The SQL that makes a schema and its rows."""
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def plan(name: str) -> str:
    """Its plan; the database is in `DATABASE_URL`."""
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
