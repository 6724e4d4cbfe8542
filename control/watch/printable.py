"""What a terminal may be sent: nothing of a text that it would obey, and nothing that its encoding lacks."""

import codecs
import io
from typing import TextIO


def printable(text: str) -> str:
    """A text with blanks for all that a terminal would obey: names and messages come from the database."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text)


def is_unicode(stream: TextIO) -> bool:
    """Whether a stream can say every letter."""
    return codecs.lookup(stream.encoding or "ascii").name.startswith("utf")


def forgive(*streams: TextIO) -> None:
    """Let streams say ? for what their encoding lacks, as a locale without UTF-8 has no ✓.

    One that lacks nothing says bytes by their numbers: a text of a SQLite file may be no UTF-8.
    """
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace" if is_unicode(stream) else "replace")
