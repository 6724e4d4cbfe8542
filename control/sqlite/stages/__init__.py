"""One file per stage of a SQLite file's migration: what it will do, its gate, doing it, undoing it."""
