"""Independent checks of a migrated SQLite file: each with its evidence, and the query that gave it."""
