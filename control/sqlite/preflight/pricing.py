"""What a statement of a step will cost: by what it does, and to which table of the file."""

from collections.abc import Mapping, Sequence

from control.sqlite.preflight import costs
from sql.sqlite.names import folded
from sql.sqlite.preflight import Size
from sql.sqlite.words import Word, words


def seconds(statement: str, found: Mapping[str, Size]) -> float:
    """How long a statement has the write lock, about."""
    meant = [word for word in words(statement) if not word.is_blank]
    size = _largest(meant, found)
    begins = _begins(meant)
    if size is None:
        return costs.STATEMENT
    if begins[:1] == ["insert"] and any(folded(word.text) == "select" for word in meant):
        return costs.copy(size)
    if begins[:1] == ["update"]:
        return costs.fill(size)
    if begins[:2] == ["create", "index"] or begins[:3] == ["create", "unique", "index"]:
        return costs.index(size, 1 + sum(word.text == "," for word in meant))
    if begins[:2] == ["drop", "table"]:
        return costs.drop(size)
    if begins[:1] == ["alter"] and _drops(meant):
        return costs.drop_column(size)
    return costs.STATEMENT


def takes_away(statement: str) -> bool:
    """Whether a statement drops something."""
    meant = [word for word in words(statement) if not word.is_blank]
    begins = _begins(meant)
    return begins[:1] == ["drop"] or (begins[:1] == ["alter"] and _drops(meant))


def _begins(meant: Sequence[Word]) -> list[str]:
    return [folded(word.text) for word in meant[:3]]


def _drops(meant: Sequence[Word]) -> bool:
    """Whether an ALTER TABLE drops a column: DROP comes after the table's name, and after its schema's."""
    return any(word.kind == "word" and folded(word.text) == "drop" for word in meant[3:6])


def _largest(meant: Sequence[Word], found: Mapping[str, Size]) -> Size | None:
    by_name = {folded(name): size for name, size in found.items()}
    named = [
        by_name[name]
        for word in meant
        if word.kind in {"name", "word"} and (name := folded(word.named)) in by_name
    ]
    return max(named, key=lambda size: size.bytes_, default=None)
