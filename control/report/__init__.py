"""What happened in a migration, to be kept: read once (`account`), then drawn (`page`), told or packed."""
