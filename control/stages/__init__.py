"""The stages, one file each: what it will do, its gate, doing it, undoing it."""
