"""Reads what the schema's own statements say and no PRAGMA does: of triggers, collations, virtual tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from sql.sqlite.names import folded
from sql.sqlite.words import Word, words

_EVENTS = ("delete", "insert", "update")


@dataclass(frozen=True, slots=True)
class Event:
    """What fires a trigger: `columns` are those after UPDATE OF, none for any."""

    kind: str
    columns: tuple[str, ...]

    def fires_on_update_of(self, column: str) -> bool:
        """Whether an UPDATE of this column alone fires it."""
        return self.kind == "update" and (not self.columns or folded(column) in map(folded, self.columns))


def event(trigger: str) -> Event:
    """Read from the statement that makes a trigger what fires it.

    Raises:
        ValueError: it makes no trigger.
    """
    meant = _after_name(trigger)
    kind = next((word for word in meant if word.kind == "word" and folded(word.text) in _EVENTS), None)
    if kind is None:
        raise ValueError("makes no trigger")
    columns: list[str] = []
    follows = next(meant)
    if folded(follows.text) == "of":
        for word in meant:
            if word.kind == "word" and folded(word.text) == "on":
                break
            if word.text != ",":
                columns.append(word.named)
    return Event(folded(kind.text), tuple(columns))


def _after_name(trigger: str) -> Iterator[Word]:
    """What follows the name, which may be a word that means something elsewhere."""
    meant = iter(_meant(trigger))
    for word in meant:
        if folded(word.text) == "trigger":
            break
    name = next(meant, None)
    if name is not None and name.kind == "word" and folded(name.text) == "if":
        for _ in range(3):
            next(meant, None)
    for word in meant:
        if word.text == ".":
            next(meant, None)
        else:
            yield word


def updated(trigger: str) -> set[str]:
    """The tables that the body of a trigger updates, folded."""
    body = list(_meant(trigger))
    begun = next((at for at, word in enumerate(body) if folded(word.text) == "begin"), 0)
    found = set()
    for at, word in enumerate(body[begun:-1], begun):
        if word.kind != "word" or folded(word.text) != "update":
            continue
        after = at + 1
        if folded(body[after].text) == "or":
            after += 2
        if after < len(body):
            found.add(folded(body[after].named))
    return found


def collations(statement: str) -> Iterator[str]:
    """The collations that a statement names."""
    for before, word in pairwise(_meant(statement)):
        if before.kind == "word" and folded(before.text) == "collate":
            yield word.named


def module(virtual: str) -> str:
    """What makes a virtual table out of nothing: `fts5`, `rtree`."""
    for before, word in pairwise(_meant(virtual)):
        if before.kind == "word" and folded(before.text) == "using":
            return folded(word.named)
    return ""


def content(virtual: str) -> str | None:
    """The table that a full-text index reads its rows from by their rowids; None where it has its own."""
    meant = list(_meant(virtual))
    for name, sign, value in zip(meant, meant[1:], meant[2:], strict=False):
        if folded(name.text) == "content" and sign.text == "=":
            return value.named or None
    return None


def _meant(statement: str) -> list[Word]:
    return [word for word in words(statement) if not word.is_blank]
