"""The indexes of a new table that is filled: at once where that is short, else entry by entry in their order.

SQLite builds an index in one transaction, which is tried first: a third of a second per million narrow rows
(seen: 0.7 s for 2 million, 1.7 s entry by entry). One that takes too long is broken off, and goes the long
way with the others of its table. Into an index that is there already entries go in the order of the rows:
each batch would write the whole index. But the tree of a table WITHOUT ROWID whose key are an index's
columns and the rowid is that index's own: sorted beforehand, in a temporary file, the entries go in one
behind the other, a batch at a time. When the last is in, the entry in the schema becomes that of an index.
The key of such a table can't hold NULL, so an index that has one, and one of expressions, is built at once
whatever its size. Nobody but us reads or writes the new table until the switch.
"""

from dataclasses import replace
from functools import partial

from control.sqlite.rebuild.making import Making
from control.sqlite.rebuild.pacing import Pace, not_longer_than
from control.sqlite.stage import Ground
from sql.errors import CatalogError
from sql.sqlite import rebuild
from sql.sqlite.connection import File
from sql.sqlite.names import folded, quoted
from sql.sqlite.pieces import Piece
from sql.sqlite.rebuild import STATEMENTS, balanced

#: Seconds of write lock that an index may take at once; with a busy timeout of 5 s nobody fails for that.
SHORT = 1.5
#: With more rows it isn't even tried.
AT_ONCE = 10_000_000


def build(ground: Ground, one: Making, pace: Pace) -> None:
    """Make every index that the new table hasn't got yet.

    Raises:
        CatalogError: two rows have one key that is to be unique.
    """
    file = ground.connection
    short = int(file.value(STATEMENTS.rows.filled(table=quoted(one.new)))) <= AT_ONCE
    for at, piece in enumerate(one.coming):
        name = one.index(at)
        if rebuild.kind_of(file, name) == "index":
            continue
        ground.notify(f"{one.name}: {piece.name} on the new table")
        if rebuild.kind_of(file, name) is None and short:
            short = _at_once(file, one, piece, at, pace)
            if short:
                continue
        if rebuild.kind_of(file, name) is None and not _sortable(file, one, piece):
            pace.batch(f"{one.name}: {piece.name}", partial(create, file, one, at))
        else:
            _entry_by_entry(ground, one, piece, name, pace)


def _at_once(file: File, one: Making, piece: Piece, at: int, pace: Pace) -> bool:
    """Build an index in one transaction; False where that took too long, and nothing is left of it."""
    with not_longer_than(file, SHORT) as broken_off:
        pace.batch(f"{one.name}: {piece.name}", partial(create, file, one, at))
    return not broken_off()


def is_begun(file: File, one: Making) -> bool:
    """Whether one of the indexes is there, or its entries are."""
    return any(
        rebuild.kind_of(file, one.index(at)) is not None
        for at, piece in enumerate(one.coming)
        if not one.comes_along(piece)
    )


def create_all(file: File, one: Making) -> None:
    """Build every index at once. Call it in a transaction."""
    for at, piece in enumerate(one.coming):
        if not one.comes_along(piece):
            create(file, one, at)


def create(file: File, one: Making, at: int, _rows: int = 0) -> int:
    """Build an index at once. Call it in a transaction."""
    file.execute(one.coming[at].create(one.index(at), one.new))
    return 0


def _sortable(file: File, one: Making, piece: Piece) -> bool:
    """Whether an index's entries can be those of a table."""
    if one.was.rowid is None or any(part.column is None for part in piece.parts):
        return False
    null = balanced([f"{part.text} IS NULL" for part in piece.parts], "OR")
    if piece.where:
        null = f"({piece.where}) AND {null}"
    return not file.value(STATEMENTS.with_null.filled(table=quoted(one.new), null=null))


def _entry_by_entry(ground: Ground, one: Making, piece: Piece, name: str, pace: Pace) -> None:
    file = ground.connection
    keys = [f"k{at}" for at in range(len(piece.parts))]
    if rebuild.kind_of(file, name) is None:
        pace.batch(f"{one.name}: {piece.name}", lambda _size: _make(file, one, piece, name))
    _sort(file, one, piece, name, keys)
    sorting = quoted(f"{name}_sorting")
    done = int(file.value(STATEMENTS.rows.filled(table=quoted(name))))
    copy = STATEMENTS.copy_sorted.filled(sorted=quoted(name), names=", ".join((*keys, "r")), sorting=sorting)

    def append(size: int) -> int:
        return file.execute(copy, {"done": done, "upto": done + size}).rowcount

    pace.begin_with(10_000)
    while rows := pace.batch(f"{one.name}: {piece.name}", append):
        done += rows
    file.execute(STATEMENTS.drop_table.filled(table=f"temp.{sorting}"))
    if piece.unique and file.value(STATEMENTS.duplicate.filled(sorted=quoted(name), key=", ".join(keys))):
        raise CatalogError(
            f"{one.name}: two rows would have one key in {piece.name}; the original is untouched"
        )
    pace.batch(f"{one.name}: {piece.name}", lambda _size: _becomes_index(file, one, piece, name))


def _make(file: File, one: Making, piece: Piece, name: str) -> int:
    columns, order = [], []
    for at, part in enumerate(piece.parts):
        declared = one.was.column(part.column or "")
        # Only in a STRICT table does ANY take values as they are; elsewhere it makes numbers of texts.
        type_ = "" if declared is None else declared.type
        if one.was.strict and folded(type_) == "any":  # elsewhere it makes numbers of texts
            type_ = ""
        columns.append(f"k{at} {type_} COLLATE {quoted(part.collation)}")
        order.append(f"k{at}{' DESC' if part.descending else ''}")
    file.execute(
        STATEMENTS.make_sorted.filled(
            sorted=quoted(name), columns=", ".join((*columns, "r INTEGER")), order=", ".join((*order, "r"))
        )
    )
    return 0


def _sort(file: File, one: Making, piece: Piece, name: str, keys: list[str]) -> None:
    sorting, rowid = quoted(f"{name}_sorting"), one.key[0]
    file.execute(STATEMENTS.drop_table.filled(table=f"temp.{sorting}"))
    file.execute(STATEMENTS.make_sorting.filled(sorting=sorting, columns=", ".join((*keys, "r"))))
    file.execute(
        STATEMENTS.sort.filled(
            sorting=sorting,
            names=", ".join((*keys, "r")),
            columns=", ".join((*(part.text for part in piece.parts), quoted(rowid))),
            table=quoted(one.new),
            where=f"WHERE {piece.where}" if piece.where else "",
            order=", ".join((*(part.collated for part in piece.parts), quoted(rowid))),
        )
    )


def _becomes_index(file: File, one: Making, piece: Piece, name: str) -> int:
    with rebuild.schema_edited(file):
        (entry, *_) = rebuild.entries(file, name)
        rebuild.write(
            file, entry, replace(entry, type="index", table=one.new, sql=piece.create(name, one.new))
        )
    return 0
