"""Rows that go from one tenant to another, with all that goes along: found, and moved where they stand.

This session enforces no foreign key, so that a row moves at once, whatever keys hold its tenant; all that
names it moves in the same transaction, so that nobody sees one without the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sql.named import load
from sql.sqlite.connection import File, shown
from sql.sqlite.facts import Table
from sql.sqlite.names import folded, listed, quoted, written
from sql.sqlite.words import words

STATEMENTS = load(Path(__file__).parent, "moving")

#: (ours, theirs) columns by which rows of one table name those of another.
Pairs = Sequence[tuple[str, str]]


class Found(NamedTuple):
    """How many rows stand in the way, and what the first of them is."""

    rows: int
    example: str | None


@dataclass(frozen=True, slots=True)
class Moving:
    """A table, and this connection's own list of its rows that go, the `number`-th such.

    `named` is what the plan calls it; `column` the tenant's; `where` says which rows may go of themselves.
    """

    file: File
    number: int
    named: str
    table: Table
    column: str
    where: str = "true"
    undoes: int | None = None
    """The assignment whose rows alone may: those that it noted."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Where a row lies: its rowid, or its key where the table has none; empty for neither."""
        rowid = self.table.rowid_alias or self.table.rowid
        return (rowid,) if rowid is not None else self.table.primary_key if self.table.without_rowid else ()

    @property
    def own_key(self) -> tuple[str, ...]:
        """What tells a row whatever its tenant, and whatever becomes of its rowid: its key without that."""
        key = tuple(name for name in self.table.primary_key if folded(name) != folded(self.column))
        return key or self.identity

    def make(self) -> None:
        """Make the list, empty."""
        self.drop()
        columns = ", ".join(self._places)
        self.file.execute(STATEMENTS.make.filled(moving=self.name, columns=columns))

    def drop(self) -> None:
        """Take the list away."""
        self.file.execute(STATEMENTS.drop.filled(moving=self.name))

    def clear(self) -> None:
        """Empty the list."""
        self.file.execute(STATEMENTS.clear.filled(moving=self.name))

    def explain(self) -> None:
        """See whether SQLite can read the condition.

        Raises:
            sqlite3.Error: it can't.
        """
        self.file.execute(
            STATEMENTS.explain.filled(table=quoted(self.table.name), where=self.where)
        ).fetchall()

    def changing(self) -> list[str]:
        """What in the condition may say something else each time: not SQLITE_DETERMINISTIC (0x800)."""
        said = {folded(word.named) for word in words(self.where) if word.kind in {"word", "text"}}
        known = {row["name"] for row in self.file.rows(STATEMENTS.changing.filled())} | {"now"}
        return sorted(said & known)

    def is_one_condition(self) -> bool:
        """Whether every bracket in the condition is closed in it, and it doesn't end the statement."""
        depth = 0
        for word in words(self.where):
            depth += {"(": 1, ")": -1}.get(word.text, 0)
            if depth < 0 or word.text == ";" or (word.kind == "comment" and not word.text.endswith("*/")):
                return False
        return depth == 0

    def choose(self, from_: str, after: tuple[Any, ...] | None, most: int) -> list[tuple[Any, ...]]:
        """The next rows that may go of themselves, behind one; where they lie."""
        places = ", ".join(_given(value, f":after{at}") for at, value in enumerate(after or ()))
        fragments = self._fragments | {
            "after": "true" if after is None else f"({self._identity}) > ({places})"
        }
        given = self._parameters(from_) | {f"after{at}": _sent(value) for at, value in enumerate(after or ())}
        given |= {"most": most}
        statement = STATEMENTS.choose.filled(walked="", plain="", **fragments)
        how = self.file.rows(STATEMENTS.choose_how.filled(query=statement), given)
        if any("TEMP B-TREE" in row["detail"] for row in how):
            # By that index it would read and sort all that is left for each page: 200,000 rows, minutes.
            # Both: SQLite takes an index that holds all columns even where it is told to take none.
            statement = STATEMENTS.choose.filled(walked=" NOT INDEXED", plain="+", **fragments)
        return [tuple(row) for row in self.file.execute(statement, given)]

    def choose_all(self, from_: str) -> None:
        """Put every row on the list that may go of itself."""
        self.file.execute(STATEMENTS.choose_all.filled(**self._fragments), self._parameters(from_))

    def put(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Put rows on the list, by where they lie."""
        for row in rows:
            values = ", ".join(_given(value, "?") for value in row)
            statement = STATEMENTS.put.filled(moving=self.name, values=values)
            self.file.execute(statement, tuple(map(_sent, row)))

    def settle(self, from_: str) -> None:
        """Take rows off the list that may not go any more."""
        self.file.execute(STATEMENTS.settle.filled(**self._fragments), self._parameters(from_))

    def follow(self, above: "Moving", pairs: Pairs, from_: str) -> int:
        """Put the rows on the list that name one on another's; how many weren't on it."""
        statement = STATEMENTS.along.filled(
            **self._fragments | {"place": above.place("m", "p")},
            above=above.name,
            parent=quoted(above.table.name),
            pairs=_pairs(pairs),
        )
        return self.file.execute(statement, {"from": from_}).rowcount

    def count(self) -> int:
        """How many rows are on the list."""
        return int(self.file.value(STATEMENTS.count.filled(moving=self.name)))

    def note(self, assignment: int) -> None:
        """Note the keys of those on the list."""
        given = {"assignment": assignment, "named": self.named}
        self.file.execute(STATEMENTS.note.filled(**self._fragments), given)

    def move(self, from_: str, to: str) -> int:
        """Give those on the list to another tenant; how many there were."""
        statement = STATEMENTS.move.filled(**self._fragments | {"identity": self._identity_plain})
        return self.file.execute(statement, {"from": from_, "to": to}).rowcount

    def taken(self, columns: Sequence[str], to: str) -> Found:
        """Rows on the list whose like, in some columns, another tenant has."""
        statement = STATEMENTS.taken.filled(
            **self._fragments,
            example=written(f"t.{quoted(columns[0])}"),
            same=" AND ".join(f"there.{quoted(name)} = t.{quoted(name)}" for name in columns),
        )
        return Found(**self.file.rows(statement, {"to": to})[0])

    def goes(self, alias: str) -> str:
        """Whether a row is on the list, as SQL."""
        # Without the column's affinity (+), which would keep SQLite from looking it up in the list.
        names = zip(self._places, self.identity, strict=True)
        place = " AND ".join(f"m.{place} = +{alias}.{quoted(name)}" for place, name in names)
        fragment = STATEMENTS.goes.filled(moving=self.name, place=place)
        return f"EXISTS ({fragment})"

    def place(self, moving: str, alias: str) -> str:
        """The row of the table that a row of the list is, as SQL."""
        names = zip(self._places, self.identity, strict=True)
        return " AND ".join(f"{alias}.{quoted(name)} = {moving}.{place}" for place, name in names)

    @property
    def name(self) -> str:
        """What the list is called, quoted."""
        return quoted(f"tenantry_moving_{self.number}")

    @property
    def _places(self) -> tuple[str, ...]:
        return tuple(f"place{at}" for at in range(len(self.identity)))

    @property
    def _identity(self) -> str:
        return listed(self.identity, "t")

    @property
    def _identity_plain(self) -> str:
        return listed(self.identity)

    @property
    def _fragments(self) -> dict[str, str]:
        key = ", ".join(written(f"t.{quoted(name)}") for name in self.own_key)
        key = f"json_array({key})"
        where = self.where
        if self.undoes is not None:
            where = f"EXISTS ({STATEMENTS.noted.filled(key=key)})"
        return {
            "moving": self.name,
            "table": quoted(self.table.name),
            "column": quoted(self.column),
            "identity": self._identity,
            "columns": ", ".join(self._places),
            "place": self.place("m", "t"),
            "where": where,
            "key": key,
        }

    def _parameters(self, from_: str) -> dict[str, Any]:
        return {"from": from_, "undoes": self.undoes, "named": self.named}


def _as_bytes(value: Any) -> bool:
    """Whether a value goes to SQLite as bytes: a text that is no UTF-8, which the driver doesn't take."""
    return isinstance(value, str) and shown(value) != value


def _given(value: Any, parameter: str) -> str:
    """What stands in a statement for a value that `_sent` sends."""
    return f"CAST({parameter} AS TEXT)" if _as_bytes(value) else parameter


def _sent(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if _as_bytes(value) else value


def torn(
    child: Table, parent: Table, pairs: Pairs, *, file: File, from_: str, column: str, goes: tuple[str, str]
) -> Found:
    """Rows of a table that would go without what they name, or the other way round.

    `goes` is, as SQL, whether a row `t` goes, and whether the row `p` does.
    """
    statement = STATEMENTS.torn.filled(
        table=quoted(child.name),
        parent=quoted(parent.name),
        pairs=_pairs(pairs),
        column=quoted(column),
        goes=goes[0],
        parent_goes=goes[1],
        example=written(f"t.{quoted(pairs[0][0])}"),
    )
    return Found(**file.rows(statement, {"from": from_})[0])


def _pairs(pairs: Pairs) -> str:
    return " AND ".join(f"p.{quoted(theirs)} = t.{quoted(ours)}" for ours, theirs in pairs)
