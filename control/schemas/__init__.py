"""A schema for each tenant: its tables made like the shared ones, kept current, filled, compared."""
