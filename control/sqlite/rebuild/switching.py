"""Puts a new table, with its indexes, in the old one's place: by the schema's own rows, whatever their size.

The table's entry stays where it is, with its triggers, the views on it, its place in sqlite_sequence and its
statistics: it only gets the new rows' root page and the new statement, and so do its indexes' entries. What
it held is under a name of ours afterwards, a whole table with its own indexes: until it is dropped the file
has both, and SQLite's own check of it finds nothing amiss.
"""

from collections.abc import Sequence
from dataclasses import replace

from control.sqlite.rebuild.making import Making, let_go
from control.sqlite.rebuild.sides import Pin
from sql.errors import CatalogError
from sql.sqlite import rebuild
from sql.sqlite.connection import File
from sql.sqlite.names import folded
from sql.sqlite.rebuild import Entry


def switch(file: File, group: Sequence[Making], pins: Sequence[Pin]) -> None:
    """Exchange all tables of a group. Call it in a transaction.

    Raises:
        CatalogError: the schema isn't what it was when the new tables were made.
    """
    for one in group:
        let_go(file, one)
    with rebuild.schema_edited(file):
        for one in group:
            _exchange(file, one)
        for pin in pins:
            (entry, *_) = rebuild.entries(file, pin.name)
            if entry.sql == pin.before:
                rebuild.write(file, entry, replace(entry, sql=pin.after))


def _exchange(file: File, one: Making) -> None:
    table, *indexes = rebuild.entries(file, one.name)
    new, *new_indexes = rebuild.entries(file, one.new)
    if table.sql != one.rebuild.before.sql:
        raise CatalogError(
            f"{one.name} was changed since its new table was made; `tenantry run` makes it again"
        )
    going = {folded(piece.name): at for at, piece in enumerate(one.going)}
    there = {folded(entry.name): entry for entry in indexes}
    if set(going) != set(there):
        raise CatalogError(
            f"indexes of {one.name} came or went since its new table was made; `tenantry run` again"
        )
    made = {entry.name: entry for entry in new_indexes}
    rebuild.write(file, table, replace(table, root=new.root, sql=one.rebuild.after.sql))
    gone = replace(new, name=one.old, table=one.old, root=table.root, sql=one.bare(after=False, name=one.old))
    rebuild.write(file, new, gone)
    for at, piece in enumerate(one.coming):
        entry = made[one.index(at)]
        # The entry of the same name becomes the new index; where there is none, the new one's gets its name.
        old = there.pop(folded(piece.name), None)
        now = Entry(entry.rowid, "index", piece.name, table.name, entry.root, piece.sql)
        if old is None:
            rebuild.write(file, entry, now)
            continue
        rebuild.write(file, old, replace(now, rowid=old.rowid, name=old.name))
        rebuild.write(file, entry, _retired(one, going[folded(old.name)], replace(old, rowid=entry.rowid)))
    for name, entry in there.items():
        behind = rebuild.place_at_end(file, _retired(one, going[name], entry))
        rebuild.write(file, entry, behind)


def _retired(one: Making, at: int, entry: Entry) -> Entry:
    """The entry of an index of the old table, under a name of ours."""
    name, piece = one.old_index(at), one.going[at]
    text = None if one.comes_along(piece) else piece.create(name, one.old)
    return replace(entry, name=name, table=one.old, sql=text)
