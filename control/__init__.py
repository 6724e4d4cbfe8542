"""The upper floor: decides, gates and shows."""
