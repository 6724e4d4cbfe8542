"""Batches on a SQLite file: one process, one writer."""
