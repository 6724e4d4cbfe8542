"""Bracketed lists in a statement cut into words: their items, and where each begins and ends."""

from collections.abc import Iterator, Sequence

from sql.sqlite.names import folded
from sql.sqlite.words import Word


def items(cut: Sequence[Word], opened: int, closed: int) -> Iterator[list[int]]:
    """The list's items: of each the places of its words outside brackets, blanks left out."""
    item: list[int] = []
    at = opened + 1
    while at < closed:
        if cut[at].text == "," and cut[at].kind == "sign":
            yield item
            item = []
        elif not cut[at].is_blank:
            item.append(at)
            if cut[at].text == "(":
                at = closing(cut, at)
                item.append(at)
        at += 1
    if item:
        yield item


def closing(cut: Sequence[Word], opened: int) -> int:
    """Where the bracket closes that opens at `opened`."""
    depth = 0
    for at in range(opened, len(cut)):
        depth += {"(": 1, ")": -1}.get(cut[at].text, 0)
        if depth == 0:
            return at
    raise ValueError("a bracket is not closed")


def keyword(cut: Sequence[Word], at: int) -> str:
    """The word there, folded; empty where it is in quotes, or no word."""
    return folded(cut[at].text) if cut[at].kind == "word" else ""


def keyword_at(cut: Sequence[Word], item: Sequence[int], at: int) -> str:
    """The word of an item at that place, folded; empty past its end."""
    return keyword(cut, item[at]) if at < len(item) else ""


def keyword_after(cut: Sequence[Word], item: Sequence[int], at: int) -> str:
    """The word of an item behind that place, folded; empty past its end."""
    return keyword_at(cut, item, at + 1)


def past(item: Sequence[int], place: int) -> int:
    """The first of an item's words past a place."""
    return next((at for at, here in enumerate(item) if here > place), len(item))


def end_of(item: Sequence[int], end: int) -> int:
    """The place after the last of an item's words before `end`."""
    return item[end - 1] + 1


def span(cut: Sequence[Word], item: Sequence[int], start: int, end: int) -> str:
    """An item's words from `start` to `end`, as written, with a blank before them; empty for none."""
    return f" {joined(cut[item[start] : end_of(item, end)])}" if end > start else ""


def written(cut: Sequence[Word], opened: int, closed: int) -> list[str]:
    """What stands between the commas of a list, as written."""
    found, depth = [""], 0
    for word in cut[opened + 1 : closed]:
        depth += {"(": 1, ")": -1}.get(word.text, 0)
        if word.text == "," and depth == 0:
            found.append("")
        else:
            found[-1] += word.text
    return [part.strip() for part in found]


def names(cut: Sequence[Word], brackets: tuple[int, int]) -> tuple[str, ...]:
    """The columns that a list names; what follows each name is its order."""
    return tuple(cut[item[0]].named for item in items(cut, *brackets))


def joined(cut: Sequence[Word]) -> str:
    """Words put together again."""
    return "".join(word.text for word in cut)
