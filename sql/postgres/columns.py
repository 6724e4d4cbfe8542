"""The statements of `columns.sql`; `control.stages.columns` puts them in order."""

from pathlib import Path

from sql.named import load

STATEMENTS = load(Path(__file__).parent, "columns")
