"""What docs/application.md shows, run as it stands there."""
