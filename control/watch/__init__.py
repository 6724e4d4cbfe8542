"""Shows a migration: on a whole terminal, live beside a run, and line by line where there is none."""
