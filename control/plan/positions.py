"""Where each key of a TOML text stands: what `tomllib` knows while it reads, and then forgets.

The text has been through `tomllib` before it comes here, so this reader only finds its way: it takes every
text that is valid TOML and never says what is wrong with one. (tomlkit keeps positions only inside its
parser, and is ten times this size.)
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable

#: The way to a value in a document: keys, and indexes into arrays and `[[tables]]`.
Path = tuple[str | int, ...]

_STRING = (
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # up to two quotes may stand before the closing three
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'"
)
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_INLINE_BLANK = re.compile(r"[ \t]*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|" + _STRING, re.DOTALL)
_VALUE = re.compile(_STRING + r"|[^,\]}#\n]+", re.DOTALL)


def positions(text: str) -> dict[Path, int]:
    """Find the line (1-based) of every table, key and array element of a valid TOML text.

    A table that is opened more than once has the line of its first header.
    """
    return _Reader(text).read()


class _Reader:
    """Goes through the text once; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        #: How many elements each array of tables has so far: a later header speaks of the last one.
        self._elements: dict[Path, int] = {}

    def read(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip(_BLANK) < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self.lines

    def _header(self) -> Path:
        line = self._line()
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        *parents, last = self._keys()
        self.at += brackets
        path = self._within((), parents, line)
        path = (*path, last)
        if brackets == 2:
            self._elements[path] = self._elements.get(path, 0) + 1
        self.lines.setdefault(path, line)
        return self._into(path, line)

    def _pair(self, table: Path) -> None:
        line = self._line()
        *parents, last = self._keys()
        path = (*self._within(table, parents, line), last)
        self.lines.setdefault(path, line)
        self.at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip(_INLINE_BLANK)
        match self.text[self.at]:
            case "{":
                self._each("}", lambda _: self._pair(path))
            case "[":
                self._each("]", lambda index: self._element((*path, index)))
            case _:
                self._skip(_VALUE)

    def _element(self, path: Path) -> None:
        self.lines[path] = self._line()
        self._value(path)

    def _each(self, closing: str, read: Callable[[int], None]) -> None:
        self.at += 1
        index = 0
        while self.text[self._skip(_BLANK)] != closing:
            if self.text[self.at] == ",":
                self.at += 1
            else:
                read(index)
                index += 1
        self.at += 1

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_INLINE_BLANK)
            start = self.at
            raw = self.text[start : self._skip(_KEY)]
            # A quoted key has TOML's own escapes: its parser reads them.
            keys.append(next(iter(tomllib.loads(f"{raw} = 0"))) if raw[0] in "\"'" else raw)
            self._skip(_INLINE_BLANK)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _within(self, path: Path, keys: list[str], line: int) -> Path:
        for key in keys:
            path = (*path, key)
            self.lines.setdefault(path, line)
            path = self._into(path, line)
        return path

    def _into(self, path: Path, line: int) -> Path:
        if path in self._elements:
            path = (*path, self._elements[path] - 1)
            self.lines.setdefault(path, line)
        return path

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return self.at

    def _line(self) -> int:
        return bisect_right(self._breaks, self.at) + 1
