"""The middle floor: one batch, done well."""
