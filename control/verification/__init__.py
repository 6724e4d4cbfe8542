"""Independent checks of the whole: each with its evidence, and the query that gave it."""
