"""The demo: a sample graph, a live application that works on it, and the check of what it was promised."""
