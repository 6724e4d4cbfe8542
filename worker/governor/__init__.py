"""The governor: may a batch go now, how fast, and why not."""
