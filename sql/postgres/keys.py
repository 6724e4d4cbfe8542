"""The statements of `keys.sql`; `control.stages.keys` puts them in order."""

from pathlib import Path

from sql.named import load

STATEMENTS = load(Path(__file__).parent, "keys")
