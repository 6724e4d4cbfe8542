"""Reads a CREATE TABLE statement as SQLite keeps it.

After SQLite's grammar (parse.y): PRIMARY, UNIQUE, REFERENCES, CONSTRAINT and the like are reserved, so that
unquoted they are never names; table constraints need no commas between them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sql.sqlite.lists import (
    closing,
    end_of,
    items,
    joined,
    keyword,
    keyword_after,
    keyword_at,
    names,
    past,
    span,
)
from sql.sqlite.names import folded
from sql.sqlite.words import Word, words

#: What an item of the list begins with that is no column.
OF_TABLE = frozenset({"constraint", "primary", "unique", "check", "foreign"})


@dataclass(frozen=True, slots=True)
class Constraint:
    """A key of a table as written: words `start` to `end`, without the end.

    `columns` are its own; `at` is where they stand in brackets (both brackets' places), None for a column's
    constraint. Of a foreign key, `target` is the place of the table's name, `target_at` of its columns'.
    """

    kind: Literal["primary key", "unique", "foreign key"]
    start: int
    end: int
    columns: tuple[str, ...]
    at: tuple[int, int] | None
    label: str = ""
    """`CONSTRAINT name` with a blank after it, where it has a name."""
    order: str = ""
    """ASC or DESC of a column's primary key."""
    clauses: str = ""
    """What follows: ON CONFLICT of a key, actions and deferral of a foreign key."""
    autoincrement: int | None = None
    target: int | None = None
    target_at: tuple[int, int] | None = None
    deferral: tuple[int, int] | None = None
    """Where a column's foreign key is deferred, apart from the rest of it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What becomes of a foreign key: `tenant` joins its columns, and `targets` are what it names."""

    targets: tuple[str, ...]
    tenant: str | None = None


#: Which foreign key becomes what: by its target and columns as written; None leaves it.
References = Callable[[str, tuple[str, ...]], Reference | None]


@dataclass(frozen=True, slots=True)
class Definition:
    """A statement cut up; `name` is the place of the table's name, `opened` and `closed` its brackets'."""

    words: tuple[Word, ...]
    name: int
    opened: int
    closed: int
    columns: tuple[str, ...]
    constraints: tuple[Constraint, ...]

    @property
    def head(self) -> str:
        """All before the columns, with their bracket."""
        return joined(self.words[: self.opened + 1])

    @property
    def tail(self) -> str:
        """All after the columns: STRICT, WITHOUT ROWID."""
        return joined(self.words[self.closed + 1 :])

    def target(self, constraint: Constraint) -> str:
        """The table that a foreign key names."""
        return self.words[constraint.target].named if constraint.target is not None else ""

    def targets(self, constraint: Constraint) -> tuple[str, ...]:
        """The columns that a foreign key names; empty where it names the table alone."""
        return names(self.words, constraint.target_at) if constraint.target_at else ()


def read(statement: str) -> Definition:
    """Cut up a CREATE TABLE statement with a list of columns, as `sqlite_schema` keeps it.

    Raises:
        ValueError: it isn't one.
    """
    cut = tuple(words(statement))
    opened = next((at for at, word in enumerate(cut) if word.text == "("), None)
    if opened is None:
        raise ValueError("no list of columns")
    name = max((at for at in range(opened) if not cut[at].is_blank), default=0)
    closed = closing(cut, opened)
    columns: list[str] = []
    constraints: list[Constraint] = []
    for item in items(cut, opened, closed):
        first = item[0]
        if cut[first].kind == "word" and folded(cut[first].text) in OF_TABLE:
            constraints.extend(_of_table(cut, item))
        else:
            columns.append(cut[first].named)
            constraints.extend(_of_column(cut, item))
    return Definition(cut, name, opened, closed, tuple(columns), tuple(constraints))


def _of_column(cut: Sequence[Word], item: Sequence[int]) -> Iterator[Constraint]:
    name = (cut[item[0]].named,)
    found: list[Constraint] = []
    # Nothing of a key is in brackets but the target's columns: what is, is skipped as a whole.
    at, label = 1, None
    while at < len(item):
        here = item[at]
        word = keyword(cut, here)
        start = here if label is None else label[0]
        text = "" if label is None else f"{label[1]} "
        if word == "constraint":
            label = (here, f"{cut[here].text} {cut[item[at + 1]].text}")
            at += 2
            continue
        label = None
        if word == "primary":
            at, one = _column_key(cut, item, at, start, text, name)
            found.append(one)
        elif word == "unique":
            end = _conflict(cut, item, at + 1)
            found.append(
                Constraint(
                    "unique",
                    start,
                    end_of(item, end),
                    name,
                    None,
                    text,
                    clauses=span(cut, item, at + 1, end),
                )
            )
            at = end
        elif word == "references":
            at, one = _reference(cut, item, at, start, text, name, None)
            found.append(one)
        elif word == "deferrable" or (word == "not" and keyword_after(cut, item, at) == "deferrable"):
            end = _deferral(cut, item, at)
            last = max(i for i, one in enumerate(found) if one.kind == "foreign key")
            found[last] = _deferred(found[last], (start, end_of(item, end)))
            at = end
        elif word == "default":
            at += 2
        else:
            at += 1
    yield from found


def _column_key(  # noqa: PLR0917  # the parts that a key has
    cut: Sequence[Word], item: Sequence[int], at: int, start: int, label: str, name: tuple[str, ...]
) -> tuple[int, Constraint]:
    end, order = at + 2, ""
    if keyword_at(cut, item, end) in {"asc", "desc"}:
        order = f" {cut[item[end]].text}"
        end += 1
    clause = _conflict(cut, item, end)
    clauses = span(cut, item, end, clause)
    counts = item[clause] if keyword_at(cut, item, clause) == "autoincrement" else None
    end = clause + (counts is not None)
    return end, Constraint(
        "primary key",
        start,
        end_of(item, end),
        name,
        None,
        label,
        order=order,
        clauses=clauses,
        autoincrement=counts,
    )


def _of_table(cut: Sequence[Word], item: Sequence[int]) -> Iterator[Constraint]:
    at, label = 0, None
    while at < len(item):
        here = item[at]
        word = keyword(cut, here)
        start = here if label is None else label[0]
        text = "" if label is None else f"{label[1]} "
        if word == "constraint":
            label = (here, f"{cut[here].text} {cut[item[at + 1]].text}")
            at += 2
            continue
        label = None
        if word in {"primary", "unique"}:
            opened = at + (2 if word == "primary" else 1)
            brackets = (item[opened], closing(cut, item[opened]))
            counts = _counting(cut, brackets)
            end = _conflict(cut, item, past(item, brackets[1]))
            yield Constraint(
                "primary key" if word == "primary" else "unique",
                start,
                end_of(item, end),
                names(cut, brackets),
                brackets,
                text,
                autoincrement=counts,
            )
            at = end
        elif word == "foreign":
            brackets = (item[at + 2], closing(cut, item[at + 2]))
            refers = past(item, brackets[1])
            at, one = _reference(cut, item, refers, start, text, names(cut, brackets), brackets)
            yield one
        else:
            at += 1


def _reference(  # noqa: PLR0917  # the parts that a foreign key has
    cut: Sequence[Word],
    item: Sequence[int],
    at: int,
    start: int,
    label: str,
    columns: tuple[str, ...],
    brackets: tuple[int, int] | None,
) -> tuple[int, Constraint]:
    """A foreign key from the word REFERENCES on, at `at`; with it, where what follows begins."""
    target = item[at + 1]
    end, target_at = at + 2, None
    if end < len(item) and cut[item[end]].text == "(":
        target_at = (item[end], closing(cut, item[end]))
        end = past(item, target_at[1])
    clauses = end
    while end < len(item):
        word = keyword_at(cut, item, end)
        if word == "on":
            end += 4 if keyword_at(cut, item, end + 2) in {"set", "no"} else 3
        elif word == "match":
            end += 2
        elif brackets is not None and (
            word == "deferrable" or (word == "not" and keyword_after(cut, item, end) == "deferrable")
        ):
            end = _deferral(cut, item, end)
        else:
            break
    return end, Constraint(
        "foreign key",
        start,
        end_of(item, end),
        columns,
        brackets,
        label,
        clauses=span(cut, item, clauses, end),
        target=target,
        target_at=target_at,
    )


def _deferred(one: Constraint, at: tuple[int, int]) -> Constraint:
    return Constraint(
        one.kind,
        one.start,
        one.end,
        one.columns,
        one.at,
        one.label,
        clauses=one.clauses,
        target=one.target,
        target_at=one.target_at,
        deferral=at,
    )


def _deferral(cut: Sequence[Word], item: Sequence[int], at: int) -> int:
    at += 2 if keyword_at(cut, item, at) == "not" else 1
    return at + 2 if keyword_at(cut, item, at) == "initially" else at


def _conflict(cut: Sequence[Word], item: Sequence[int], at: int) -> int:
    """Past ON CONFLICT, where it stands there."""
    return at + 3 if keyword_at(cut, item, at) == "on" else at


def _counting(cut: Sequence[Word], brackets: tuple[int, int]) -> int | None:
    inside = range(brackets[0], brackets[1])
    return next((at for at in inside if keyword(cut, at) == "autoincrement"), None)
