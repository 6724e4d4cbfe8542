"""The ground floor: everything that is said to a database, and the types of what it answers."""
