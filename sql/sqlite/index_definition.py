"""Reads a CREATE INDEX statement as SQLite keeps it, and writes it again for another name, table or key."""

from sql.sqlite.lists import closing, joined, keyword, keyword_at, written
from sql.sqlite.names import quoted
from sql.sqlite.redefinition import Edits, into_list
from sql.sqlite.words import Word, words


def renamed_index(statement: str, name: str, table: str) -> str:
    """A CREATE INDEX statement, as SQLite keeps it, for an index of another name on another table."""
    cut = tuple(words(statement))
    places = [at for at, word in enumerate(cut) if not word.is_blank]
    index = places[3 if keyword_at(cut, places, 1) == "unique" else 2]
    on = places[places.index(index) + 2]
    edits = Edits(cut)
    edits.replace(index, quoted(name))
    edits.replace(on, quoted(table))
    return edits.text()


def widened_index(statement: str, tenant: str) -> str:
    """A CREATE INDEX statement whose last column is the tenant's."""
    cut = tuple(words(statement))
    opened = next(at for at, word in enumerate(cut) if word.text == "(")
    edits = Edits(cut)
    into_list(cut, (opened, closing(cut, opened)), (tenant,), edits)
    return edits.text()


def index_parts(statement: str) -> tuple[tuple[str, ...], str]:
    """What an index is on, each column or expression without its order, and its WHERE; empty for none."""
    # Without comments: each part goes into brackets, or before others.
    cut = tuple(Word("space", " ") if word.kind == "comment" else word for word in words(statement))
    opened = next(at for at, word in enumerate(cut) if word.text == "(")
    closed = closing(cut, opened)
    rest = joined(cut[closed + 1 :]).strip()
    return tuple(_without_order(part) for part in written(cut, opened, closed)), rest[len("where") :].strip()


def _without_order(part: str) -> str:
    cut = list(words(part))
    while cut and (cut[-1].is_blank or keyword(cut, len(cut) - 1) in {"asc", "desc"}):
        cut.pop()
    return joined(cut)
