"""Writes a CREATE TABLE statement again with other keys, and the rest as it is, byte for byte."""

from collections.abc import Sequence

from sql.sqlite.definition import OF_TABLE, Constraint, Definition, Reference, References, read
from sql.sqlite.lists import items, joined, written
from sql.sqlite.names import folded, listed, quoted
from sql.sqlite.words import Word, words


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
    edits = Edits(table.words)
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
    edits = Edits(tuple(words(statement)))
    edits.replace(read(statement).name, quoted(name))
    return edits.text()


def bare(statement: str, name: str, *, keep_key: bool, keep_unique: bool = False) -> str:
    """A table of another name that holds the same rows, without what other tables or indexes are made for.

    No foreign key, no AUTOINCREMENT, and the primary key only to `keep_key`: as a rowid or in a table
    WITHOUT ROWID it is part of the rows. UNIQUE goes unless `keep_unique` says otherwise.
    """
    table = read(statement)
    edits = Edits(table.words)
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
    for item in items(table.words, table.opened, table.closed):
        if all(edits.gone(at) for at in item):  # a column stands before it, and a comma
            comma = max(at for at in range(item[0]) if table.words[at].text == ",")
            edits.replace(comma, "")
    return edits.text()


def with_column(statement: str, definition: str) -> str:
    """The statement as ALTER TABLE ADD COLUMN leaves it."""
    table = read(statement)
    of_table = [item for item in items(table.words, table.opened, table.closed) if _is_of_table(table, item)]
    last = of_table[0][0] if of_table else table.closed
    before = joined(table.words[:last])
    if of_table:
        comma = before.rindex(",")
        return f"{before[:comma]}, {definition}{before[comma:]}{joined(table.words[last:])}"
    return f"{before}, {definition}{joined(table.words[last:])}"


def _is_of_table(table: Definition, item: Sequence[int]) -> bool:
    first = table.words[item[0]]
    return first.kind == "word" and folded(first.text) in OF_TABLE


class Edits:
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
    table: Definition, one: Constraint, columns: Sequence[str], edits: Edits, appended: list[str]
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
        into_list(table.words, one.at, new, edits)
        return
    parts_of = dict(zip(map(folded, one.columns), written(table.words, opened, closed), strict=True))
    for at in range(opened + 1, closed):
        edits.replace(at, "")
    edits.insert(opened, ", ".join(parts_of.get(folded(name), quoted(name)) for name in columns))


def into_list(cut: Sequence[Word], at: tuple[int, int], new: Sequence[str], edits: Edits) -> None:
    """Add columns at the end of the list in brackets at `at`."""
    last = at[1] - 1
    while cut[last].is_blank:
        last -= 1
    edits.insert(last, "".join(f", {quoted(name)}" for name in new))


def _refer(table: Definition, one: Constraint, becomes: Reference, edits: Edits, appended: list[str]) -> None:
    more = () if becomes.tenant is None else (becomes.tenant,)
    if one.target is None:
        return
    if one.at is None and more:
        edits.remove(one.start, one.end)
        deferral = ""
        if one.deferral is not None:
            edits.remove(*one.deferral)
            deferral = f" {joined(table.words[slice(*one.deferral)])}"
        appended.append(
            f"{one.label}FOREIGN KEY ({listed((*one.columns, *more))}) REFERENCES "
            f"{table.words[one.target].text} ({listed((*becomes.targets, *more))}){one.clauses}{deferral}"
        )
        return
    if one.at is not None:
        into_list(table.words, one.at, more, edits)
    if one.target_at is not None:
        into_list(table.words, one.target_at, more, edits)
    else:
        edits.insert(one.target, f" ({listed((*becomes.targets, *more))})")
