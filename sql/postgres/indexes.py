"""The statements of `indexes.sql`; `control.stages.indexes` puts them in order."""

from pathlib import Path

from sql.named import load

STATEMENTS = load(Path(__file__).parent, "indexes")
