"""Cuts SQLite's SQL into its words, so that the schema's own statements can be read and rewritten.

After SQLite's tokenizer (tokenize.c): words that put together give the text again, byte for byte, comments
and white space among them.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["space", "comment", "text", "blob", "name", "word", "number", "sign"]

_WORD = re.compile(
    r"""
    (?P<space>[ \t\n\f\r]+)
  | (?P<comment>--[^\n]*(?:\n|\Z) | /\*(?:.*?\*/|.*\Z))
  | (?P<blob>[xX]'[^']*')
  | (?P<text>'(?:[^']|'')*')
  | (?P<name>"(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\])
  | (?P<number>0[xX][0-9a-fA-F]+ | (?:\d+(?:\.\d*)? | \.\d+)(?:[eE][+-]?\d+)?)
  | (?P<word>[^\W\d][\w$]* | [\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
  | (?P<sign><> | <= | >= | == | != | << | >> | \|\| | ->> | -> | .)
    """,
    re.VERBOSE | re.DOTALL,
)


class Word(NamedTuple):
    """A word as written, and what it is: a `name` is in quotes, a `word` may be a keyword or a name."""

    kind: Kind
    text: str

    @property
    def is_blank(self) -> bool:
        """Whether it means nothing."""
        return self.kind in {"space", "comment"}

    @property
    def named(self) -> str:
        """What it names, without its quotes. SQLite takes a text for a name where one has to be."""
        if self.kind == "word":
            return self.text
        if self.text.startswith("["):
            return self.text[1:-1]
        mark = self.text[0]
        return self.text[1:-1].replace(mark * 2, mark)


def words(statement: str) -> Iterator[Word]:
    """Cut a statement into its words."""
    for found in _WORD.finditer(statement):
        yield Word(found.lastgroup, found[0])  # type: ignore[arg-type]  # the groups are the kinds
