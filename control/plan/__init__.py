"""The plan: `migration.toml` as a checked, frozen value."""
