"""What a table is made anew from: its new table, the notes of what is written meanwhile, and their names."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from control.sqlite.rebuild.sides import Rebuild
from sql.sqlite import catalog, rebuild
from sql.sqlite.connection import File
from sql.sqlite.facts import Column, Table
from sql.sqlite.names import folded, listed, literal, quoted
from sql.sqlite.pieces import Part, Piece, automatic, pieces
from sql.sqlite.rebuild import STATEMENTS
from sql.sqlite.redefinition import bare
from sql.sqlite.words import words

#: Words that mean a value as a default.
_CONSTANTS = {"null", "true", "false", "current_date", "current_time", "current_timestamp"}


@dataclass(frozen=True)
class Making:
    """A table as it is (`was`), its rebuild, and whether it goes to the new side or back.

    Every name of ours holds the migration's id and the table's number in the plan.
    """

    was: Table
    rebuild: Rebuild
    migration: int
    back: bool

    @property
    def name(self) -> str:
        """The table's own name."""
        return self.was.name

    @property
    def new(self) -> str:
        """What the new table is called until it is in the old one's place."""
        return f"tenantry_{'back' if self.back else 'new'}_{self.migration}_{self.rebuild.number}"

    @property
    def old(self) -> str:
        """What the old one is called from then on."""
        return f"tenantry_old_{self.migration}_{self.rebuild.number}"

    @property
    def notes(self) -> str:
        """Where the keys of rows are noted that were written meanwhile."""
        return f"{self.new}_notes"

    @property
    def keeper(self) -> str:
        """The index of no row that has VACUUM leave the new table's rowids as they are."""
        return f"{self.new}_keeps"

    def index(self, at: int) -> str:
        """What the index of a coming piece is called on the new table."""
        return self._entry(self.new, self.coming[at], at)

    def old_index(self, at: int) -> str:
        """What the index of a going piece is called on the old table, once that is out of its place."""
        return self._entry(self.old, self.going[at], at)

    def _entry(self, table: str, piece: Piece, at: int) -> str:
        return automatic(piece.name, table) if self.comes_along(piece) else f"{table}_{at}"

    def comes_along(self, piece: Piece) -> bool:
        """Whether a constraint makes an index on the new table too.

        In a table WITHOUT ROWID a CREATE INDEX doesn't make the same: it orders what it adds of the key as
        the key does, and a constraint's index doesn't (SQLite's ticket bba7b69f98).
        """
        return piece.sql is None and self.was.rowid is None

    @cached_property
    def coming(self) -> tuple[Piece, ...]:
        """The indexes that the table is to have."""
        return pieces(self.name, self.rebuild.after.sql, self.rebuild.after.indexes)

    @cached_property
    def going(self) -> tuple[Piece, ...]:
        """The indexes that it has."""
        return pieces(self.name, self.rebuild.before.sql, self.rebuild.before.indexes)

    @property
    def key(self) -> tuple[str, ...]:
        """What tells a row on both sides: the rowid, or the primary key of a table without one."""
        return self.was.primary_key if self.was.rowid is None else (self.was.rowid,)

    @property
    def noted(self) -> tuple[str, ...]:
        """The same in the notes."""
        return tuple(f"k{at}" for at in range(len(self.key)))

    @property
    def copied(self) -> tuple[str, ...]:
        """What is copied: the rowid, unless a column is it, and all that holds what was written."""
        alone = self.was.rowid is not None and self.was.rowid_alias is None
        return (*(self.key if alone else ()), *self.was.stored)

    @property
    def is_keyed(self) -> bool:
        """Whether the primary key is part of the rows themselves."""
        return self.was.rowid is None or self.was.rowid_alias is not None

    def bare(self, *, after: bool, name: str) -> str:
        """The table's statement on one side, with its rows alone."""
        side = self.rebuild.after if after else self.rebuild.before
        return bare(side.sql, name, keep_key=self.is_keyed, keep_unique=self.was.rowid is None)

    def triggers(self) -> Iterator[tuple[str, str]]:
        """The triggers that note what is written, with their names."""
        for event, sides in (("INSERT", ("NEW",)), ("UPDATE", ("OLD", "NEW")), ("DELETE", ("OLD",))):
            name = f"{self.notes}_{event.lower()}"
            body = " ".join(self._note(side) for side in sides)
            yield (
                name,
                STATEMENTS.note_after.filled(
                    trigger=quoted(name), event=event, table=quoted(self.name), body=body
                ),
            )
        for event in ("INSERT", "UPDATE"):
            if body := " ".join(self._in_the_way()):
                name = f"{self.notes}_before_{event.lower()}"
                yield (
                    name,
                    STATEMENTS.note_before.filled(
                        trigger=quoted(name), event=event, table=quoted(self.name), body=body
                    ),
                )

    def make_notes(self) -> str:
        """The statement that makes the table of notes."""
        alone = self.was.rowid is not None
        (first, *more) = self.noted
        columns = f"{first} INTEGER" if alone else ", ".join((first, *more))
        return STATEMENTS.make_notes.filled(
            notes=quoted(self.notes),
            columns=columns,
            key=", ".join(self.noted),
            tail="" if alone else " WITHOUT ROWID",
        )

    def _note(self, side: str) -> str:
        return (
            STATEMENTS.note.filled(
                notes=quoted(self.notes),
                key=", ".join(self.noted),
                values=", ".join(f"{side}.{quoted(name)}" for name in self.key),
            )
            + ";"
        )

    def _in_the_way(self) -> Iterator[str]:
        """What notes the rows that a written one would be in conflict with, by each unique index."""
        theirs = ", ".join(f"o.{quoted(name)}" for name in self.key)
        for piece in self.going:
            if not piece.unique:
                continue
            alike = [self._alike(part) for part in piece.parts]
            if piece.where:
                alike.append(f"({piece.where})")
            yield (
                STATEMENTS.note_in_the_way.filled(
                    notes=quoted(self.notes),
                    key=", ".join(self.noted),
                    theirs=theirs,
                    table=quoted(self.name),
                    alike=" AND ".join(alike),
                )
                + ";"
            )

    def _alike(self, part: Part) -> str:
        column = None if part.column is None else self.was.column(part.column)
        if column is not None:
            return f"o.{part.text} = {_written(column)} COLLATE {quoted(part.collation)}"
        # The expression's own names mean the row that is about to be written.
        row = ", ".join(f"{_written(one)} AS {quoted(one.name)}" for one in self.was.columns)
        return f"{part.text} = (SELECT {part.text} FROM (SELECT {row})) COLLATE {quoted(part.collation)}"  # noqa: S608  # names, quoted


def _written(column: Column) -> str:
    """What a column of the row is to hold: REPLACE puts the default in the place of a refused NULL."""
    value = f"NEW.{quoted(column.name)}"
    if not column.not_null or column.default is None:
        return value
    first, *more = (word for word in words(column.default) if not word.is_blank)
    is_name = first.kind == "name" or (first.kind == "word" and folded(first.text) not in _CONSTANTS)
    # A name as a default is a text to SQLite; in a trigger it would be a column.
    default = literal(first.named) if is_name and not more else f"({column.default})"
    return f"ifnull({value}, {default})"


def making(file: File, one: Rebuild, *, migration: int, back: bool) -> Making:
    """A rebuild with the table as it is now."""
    return Making(catalog.read(file).table(one.name), one, migration, back)


def is_begun(file: File, one: Making) -> bool:
    """Whether its new table is there."""
    return rebuild.kind_of(file, one.new) is not None


def is_done(file: File, one: Making) -> bool:
    """Whether the table is as it is to be."""
    now = catalog.read(file).table(one.name)
    named = {index.name: index.sql for index in now.indexes if index.sql is not None}
    return now.sql == one.rebuild.after.sql and named == one.rebuild.after.indexes


def begin(file: File, one: Making) -> None:
    """Make the new table and what notes the writes. Call it in a transaction."""
    file.execute(one.bare(after=True, name=one.new))
    if one.was.rowid is not None:
        file.execute(STATEMENTS.keep_rowids.filled(index=quoted(one.keeper), table=quoted(one.new)))
    file.execute(one.make_notes())
    for _, statement in one.triggers():
        file.execute(statement)


def let_go(file: File, one: Making) -> None:
    """Take away notes, what writes them, what kept the rowids, and statistics. Call it in a transaction."""
    for name, _ in one.triggers():
        file.execute(STATEMENTS.drop_trigger.filled(trigger=quoted(name)))
    file.execute(STATEMENTS.drop_index.filled(index=quoted(one.keeper)))
    file.execute(STATEMENTS.drop_table.filled(table=quoted(one.notes)))
    for statistics in ("sqlite_stat1", "sqlite_stat4"):
        if rebuild.kind_of(file, statistics) is not None:
            forget = STATEMENTS.forget_statistics.filled(statistics=statistics)
            file.execute(forget, {"table": one.new, "trees": f"{one.new}_*"})


def columns_of(one: Making) -> str:
    """What is copied, as SQL."""
    return listed(one.copied)
