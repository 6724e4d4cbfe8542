"""What Prometheus is shown of a migration: the series, their values, and who answers scrapes."""
