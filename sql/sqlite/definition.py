"""Reads a CREATE TABLE statement as SQLite keeps it, and writes it again with other keys, the rest as it is.

After SQLite's grammar (parse.y): PRIMARY, UNIQUE, REFERENCES, CONSTRAINT and the like are reserved, so that
unquoted they are never names; table constraints need no commas between them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sql.sqlite.names import folded, listed, quoted
from sql.sqlite.words import Word, words

#: What an item of the list begins with that is no column.
_OF_TABLE = frozenset({"constraint", "primary", "unique", "check", "foreign"})


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
        return _text(self.words[: self.opened + 1])

    @property
    def tail(self) -> str:
        """All after the columns: STRICT, WITHOUT ROWID."""
        return _text(self.words[self.closed + 1 :])

    def target(self, constraint: Constraint) -> str:
        """The table that a foreign key names."""
        return self.words[constraint.target].named if constraint.target is not None else ""

    def targets(self, constraint: Constraint) -> tuple[str, ...]:
        """The columns that a foreign key names; empty where it names the table alone."""
        return _names(self.words, constraint.target_at) if constraint.target_at else ()


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
    closed = _closing(cut, opened)
    columns: list[str] = []
    constraints: list[Constraint] = []
    for item in _items(cut, opened, closed):
        first = item[0]
        if cut[first].kind == "word" and folded(cut[first].text) in _OF_TABLE:
            constraints.extend(_of_table(cut, item))
        else:
            columns.append(cut[first].named)
            constraints.extend(_of_column(cut, item))
    return Definition(cut, name, opened, closed, tuple(columns), tuple(constraints))


def rewritten(
    statement: str,
    *,
    tenant: str,
    key: Sequence[str] | None = None,
    unique: Sequence[tuple[str, ...]] = (),
    references: References = lambda _target, _columns: None,
    added: Sequence[str] = (),
) -> str:
    """Write a table's statement with other keys.

    `key` takes the place of its primary key, or is added; UNIQUE constraints over the columns in `unique` get
    the `tenant` as their last one; `references` says what becomes of foreign keys; `added` are further
    constraints as SQL.
    """
    table = read(statement)
    edits = _Edits(table.words)
    appended: list[str] = []
    keyed = False
    widened = {tuple(map(folded, columns)) for columns in unique}
    for one in table.constraints:
        if one.kind == "primary key" and key is not None:
            keyed = True
            _rekey(table, one, key, edits, appended)
        elif one.kind == "unique" and tuple(map(folded, one.columns)) in widened:
            _rekey(table, one, (*one.columns, tenant), edits, appended)
        elif one.kind == "foreign key":
            becomes = references(table.target(one), one.columns)
            if becomes is not None:
                _refer(table, one, becomes, edits, appended)
    if key is not None and not keyed:
        appended.append(f"PRIMARY KEY ({listed(key)})")
    edits.append(table, [*appended, *added])
    return edits.text()


def named(statement: str, name: str) -> str:
    """The same statement for a table of another name."""
    edits = _Edits(tuple(words(statement)))
    edits.replace(read(statement).name, quoted(name))
    return edits.text()


def bare(statement: str, name: str, *, keep_key: bool, keep_unique: bool = False) -> str:
    """A table of another name that holds the same rows, without what other tables or indexes are made for.

    No foreign key, no AUTOINCREMENT, and the primary key only to `keep_key`: as a rowid or in a table
    WITHOUT ROWID it is part of the rows. UNIQUE goes unless `keep_unique` says otherwise.
    """
    table = read(statement)
    edits = _Edits(table.words)
    edits.replace(table.name, quoted(name))
    for one in table.constraints:
        if one.kind == "primary key" and keep_key:
            if one.autoincrement is not None:
                edits.remove(one.autoincrement, one.autoincrement + 1)
            continue
        if one.kind == "unique" and keep_unique:
            continue
        edits.remove(one.start, one.end)
        if one.deferral is not None:
            edits.remove(*one.deferral)
    for item in _items(table.words, table.opened, table.closed):
        if all(edits.gone(at) for at in item):  # a column stands before it, and a comma
            comma = max(at for at in range(item[0]) if table.words[at].text == ",")
            edits.replace(comma, "")
    return edits.text()


def with_column(statement: str, definition: str) -> str:
    """The statement as ALTER TABLE ADD COLUMN leaves it."""
    table = read(statement)
    of_table = [item for item in _items(table.words, table.opened, table.closed) if _is_of_table(table, item)]
    last = of_table[0][0] if of_table else table.closed
    before = _text(table.words[:last])
    if of_table:
        comma = before.rindex(",")
        return f"{before[:comma]}, {definition}{before[comma:]}{_text(table.words[last:])}"
    return f"{before}, {definition}{_text(table.words[last:])}"


def _is_of_table(table: Definition, item: Sequence[int]) -> bool:
    first = table.words[item[0]]
    return first.kind == "word" and folded(first.text) in _OF_TABLE


class _Edits:
    """Changes to a list of words, by their places; what isn't changed stays byte for byte."""

    def __init__(self, cut: Sequence[Word]) -> None:
        self._cut = cut
        self._instead: dict[int, str] = {}
        self._after: dict[int, str] = {}

    def replace(self, at: int, text: str) -> None:
        """Write something else in a word's place."""
        self._instead[at] = text

    def insert(self, at: int, text: str) -> None:
        """Write something after a word."""
        self._after[at] = self._after.get(at, "") + text

    def remove(self, start: int, end: int) -> None:
        """Leave words out, with the blank before them where something blank follows."""
        if start and self._cut[start - 1].kind == "space":
            start -= 1
            gap = " " if _needs_gap(self._cut, end) else ""
        else:
            gap = " " if end < len(self._cut) and not self._cut[end].is_blank else ""
        for at in range(start, end):
            # Comments among them say something of what is gone.
            self._instead[at] = ""
        if gap:
            self._instead[end] = gap + self._instead.get(end, self._cut[end].text)

    def gone(self, at: int) -> bool:
        """Whether nothing is left of a word."""
        return self._instead.get(at, " ") == ""

    def append(self, table: Definition, constraints: Sequence[str]) -> None:
        """Write further constraints at the end of the list."""
        last = table.closed - 1
        while self._cut[last].is_blank:
            last -= 1
        for one in constraints:
            self.insert(last, f", {one}")

    def text(self) -> str:
        """The statement with all changes."""
        return "".join(
            self._instead.get(at, word.text) + self._after.get(at, "") for at, word in enumerate(self._cut)
        )


def _needs_gap(cut: Sequence[Word], end: int) -> bool:
    return end < len(cut) and not cut[end].is_blank and cut[end].text not in {",", ")"}


def _rekey(
    table: Definition, one: Constraint, columns: Sequence[str], edits: _Edits, appended: list[str]
) -> None:
    if one.at is None:
        edits.remove(one.start, one.end)
        order = {folded(one.columns[0]): one.order}
        parts = [f"{quoted(name)}{order.get(folded(name), '')}" for name in columns]
        word = "PRIMARY KEY" if one.kind == "primary key" else "UNIQUE"
        appended.append(f"{one.label}{word} ({', '.join(parts)}){one.clauses}")
        return
    opened, closed = one.at
    new = [name for name in columns if folded(name) not in set(map(folded, one.columns))]
    if tuple(map(folded, columns)) == (*map(folded, one.columns), *map(folded, new)):
        _into_list(table.words, one.at, new, edits)
        return
    parts_of = dict(zip(map(folded, one.columns), _parts(table.words, opened, closed), strict=True))
    for at in range(opened + 1, closed):
        edits.replace(at, "")
    edits.insert(opened, ", ".join(parts_of.get(folded(name), quoted(name)) for name in columns))


def _into_list(cut: Sequence[Word], at: tuple[int, int], new: Sequence[str], edits: _Edits) -> None:
    last = at[1] - 1
    while cut[last].is_blank:
        last -= 1
    edits.insert(last, "".join(f", {quoted(name)}" for name in new))


def _refer(
    table: Definition, one: Constraint, becomes: Reference, edits: _Edits, appended: list[str]
) -> None:
    more = () if becomes.tenant is None else (becomes.tenant,)
    if one.target is None:
        return
    if one.at is None and more:
        edits.remove(one.start, one.end)
        deferral = ""
        if one.deferral is not None:
            edits.remove(*one.deferral)
            deferral = f" {_text(table.words[slice(*one.deferral)])}"
        appended.append(
            f"{one.label}FOREIGN KEY ({listed((*one.columns, *more))}) REFERENCES "
            f"{table.words[one.target].text} ({listed((*becomes.targets, *more))}){one.clauses}{deferral}"
        )
        return
    if one.at is not None:
        _into_list(table.words, one.at, more, edits)
    if one.target_at is not None:
        _into_list(table.words, one.target_at, more, edits)
    else:
        edits.insert(one.target, f" ({listed((*becomes.targets, *more))})")


def _of_column(cut: Sequence[Word], item: Sequence[int]) -> Iterator[Constraint]:
    name = (cut[item[0]].named,)
    found: list[Constraint] = []
    # Nothing of a key is in brackets but the target's columns: what is, is skipped as a whole.
    at, label = 1, None
    while at < len(item):
        here = item[at]
        word = _keyword(cut, here)
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
                    _after(item, end),
                    name,
                    None,
                    text,
                    clauses=_span(cut, item, at + 1, end),
                )
            )
            at = end
        elif word == "references":
            at, one = _reference(cut, item, at, start, text, name, None)
            found.append(one)
        elif word == "deferrable" or (word == "not" and _next(cut, item, at) == "deferrable"):
            end = _deferral(cut, item, at)
            last = max(i for i, one in enumerate(found) if one.kind == "foreign key")
            found[last] = _deferred(found[last], (start, _after(item, end)))
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
    if _at(cut, item, end) in {"asc", "desc"}:
        order = f" {cut[item[end]].text}"
        end += 1
    clause = _conflict(cut, item, end)
    clauses = _span(cut, item, end, clause)
    counts = item[clause] if _at(cut, item, clause) == "autoincrement" else None
    end = clause + (counts is not None)
    return end, Constraint(
        "primary key",
        start,
        _after(item, end),
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
        word = _keyword(cut, here)
        start = here if label is None else label[0]
        text = "" if label is None else f"{label[1]} "
        if word == "constraint":
            label = (here, f"{cut[here].text} {cut[item[at + 1]].text}")
            at += 2
            continue
        label = None
        if word in {"primary", "unique"}:
            opened = at + (2 if word == "primary" else 1)
            brackets = (item[opened], _closing(cut, item[opened]))
            counts = _counting(cut, brackets)
            end = _conflict(cut, item, _past(item, brackets[1]))
            yield Constraint(
                "primary key" if word == "primary" else "unique",
                start,
                _after(item, end),
                _names(cut, brackets),
                brackets,
                text,
                autoincrement=counts,
            )
            at = end
        elif word == "foreign":
            brackets = (item[at + 2], _closing(cut, item[at + 2]))
            refers = _past(item, brackets[1])
            at, one = _reference(cut, item, refers, start, text, _names(cut, brackets), brackets)
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
        target_at = (item[end], _closing(cut, item[end]))
        end = _past(item, target_at[1])
    clauses = end
    while end < len(item):
        word = _at(cut, item, end)
        if word == "on":
            end += 4 if _at(cut, item, end + 2) in {"set", "no"} else 3
        elif word == "match":
            end += 2
        elif brackets is not None and (
            word == "deferrable" or (word == "not" and _next(cut, item, end) == "deferrable")
        ):
            end = _deferral(cut, item, end)
        else:
            break
    return end, Constraint(
        "foreign key",
        start,
        _after(item, end),
        columns,
        brackets,
        label,
        clauses=_span(cut, item, clauses, end),
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
    at += 2 if _at(cut, item, at) == "not" else 1
    return at + 2 if _at(cut, item, at) == "initially" else at


def _conflict(cut: Sequence[Word], item: Sequence[int], at: int) -> int:
    """Past ON CONFLICT, where it stands there."""
    return at + 3 if _at(cut, item, at) == "on" else at


def _counting(cut: Sequence[Word], brackets: tuple[int, int]) -> int | None:
    inside = range(brackets[0], brackets[1])
    return next((at for at in inside if _keyword(cut, at) == "autoincrement"), None)


def _items(cut: Sequence[Word], opened: int, closed: int) -> Iterator[list[int]]:
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
                at = _closing(cut, at)
                item.append(at)
        at += 1
    if item:
        yield item


def _closing(cut: Sequence[Word], opened: int) -> int:
    depth = 0
    for at in range(opened, len(cut)):
        depth += {"(": 1, ")": -1}.get(cut[at].text, 0)
        if depth == 0:
            return at
    raise ValueError("a bracket is not closed")


def _keyword(cut: Sequence[Word], at: int) -> str:
    return folded(cut[at].text) if cut[at].kind == "word" else ""


def _at(cut: Sequence[Word], item: Sequence[int], at: int) -> str:
    return _keyword(cut, item[at]) if at < len(item) else ""


def _next(cut: Sequence[Word], item: Sequence[int], at: int) -> str:
    return _at(cut, item, at + 1)


def _past(item: Sequence[int], place: int) -> int:
    """The first of an item's words past a place."""
    return next((at for at, here in enumerate(item) if here > place), len(item))


def _after(item: Sequence[int], end: int) -> int:
    """The place after the last of an item's words before `end`."""
    return item[end - 1] + 1


def _span(cut: Sequence[Word], item: Sequence[int], start: int, end: int) -> str:
    """An item's words from `start` to `end`, as written, with a blank before them; empty for none."""
    return f" {_text(cut[item[start] : _after(item, end)])}" if end > start else ""


def _parts(cut: Sequence[Word], opened: int, closed: int) -> list[str]:
    """What stands between the commas of a list, as written."""
    parts, depth = [""], 0
    for word in cut[opened + 1 : closed]:
        depth += {"(": 1, ")": -1}.get(word.text, 0)
        if word.text == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += word.text
    return [part.strip() for part in parts]


def _names(cut: Sequence[Word], brackets: tuple[int, int]) -> tuple[str, ...]:
    """The columns that a list names; what follows each name is its order."""
    return tuple(cut[item[0]].named for item in _items(cut, *brackets))


def _text(cut: Sequence[Word]) -> str:
    return "".join(word.text for word in cut)


def renamed_index(statement: str, name: str, table: str) -> str:
    """A CREATE INDEX statement, as SQLite keeps it, for an index of another name on another table."""
    cut = tuple(words(statement))
    places = [at for at, word in enumerate(cut) if not word.is_blank]
    index = places[3 if _at(cut, places, 1) == "unique" else 2]
    on = places[places.index(index) + 2]
    edits = _Edits(cut)
    edits.replace(index, quoted(name))
    edits.replace(on, quoted(table))
    return edits.text()


def widened_index(statement: str, tenant: str) -> str:
    """A CREATE INDEX statement whose last column is the tenant's."""
    cut = tuple(words(statement))
    opened = next(at for at, word in enumerate(cut) if word.text == "(")
    edits = _Edits(cut)
    _into_list(cut, (opened, _closing(cut, opened)), (tenant,), edits)
    return edits.text()


def index_parts(statement: str) -> tuple[tuple[str, ...], str]:
    """What an index is on, each column or expression without its order, and its WHERE; empty for none."""
    # Without comments: each part goes into brackets, or before others.
    cut = tuple(Word("space", " ") if word.kind == "comment" else word for word in words(statement))
    opened = next(at for at, word in enumerate(cut) if word.text == "(")
    closed = _closing(cut, opened)
    rest = _text(cut[closed + 1 :]).strip()
    return tuple(_without_order(part) for part in _parts(cut, opened, closed)), rest[len("where") :].strip()


def _without_order(part: str) -> str:
    cut = list(words(part))
    while cut and (cut[-1].is_blank or _keyword(cut, len(cut) - 1) in {"asc", "desc"}):
        cut.pop()
    return _text(cut)
