"""The statements of `locks.sql`; `control.locks` sends them."""

from pathlib import Path

from sql.named import load

STATEMENTS = load(Path(__file__).parent, "locks")
