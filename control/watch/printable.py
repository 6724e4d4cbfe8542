"""What a terminal may be sent: nothing of a text that it would obey, and nothing that its encoding lacks."""

import io
from typing import TextIO


def printable(text: str) -> str:
    """A text with blanks for all that a terminal would obey: names and messages come from the database."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text)


def forgive(*streams: TextIO) -> None:
    """Let streams write ? for what their encoding lacks, as a locale without UTF-8 has no ✓."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
