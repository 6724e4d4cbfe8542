"""Rows of a SQLite file that go from one tenant to another; `control.tenants` has what serves both."""
