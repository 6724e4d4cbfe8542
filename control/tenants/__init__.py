"""Tenants one at a time: who has what, rows that go from one to another, whom the application may serve."""
