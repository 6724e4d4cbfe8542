"""SQLite: connections, the catalog, and every statement that is sent to a file."""
