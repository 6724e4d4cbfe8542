"""The migration of a SQLite file: the stages are those of PostgreSQL but for `rls`, and one process works."""
