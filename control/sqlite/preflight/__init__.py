"""Looks at a SQLite file before anything is touched, as `control.preflight` looks at a server."""
