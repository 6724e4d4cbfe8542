"""Tables made anew in plain SQL, for a script on a copy that nobody else works with.

A run gets to the same by the schema's own rows and in batches. Here the old table steps aside under a name of
ours, and goes before the indexes come, for they have the same names.
"""

from collections.abc import Iterator, Sequence

from control.sqlite.rebuild.sides import Pin, Rebuild
from sql.sqlite.dry_run import STATEMENTS
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.names import listed, literal, quoted


def anew(group: Sequence[Rebuild], before: Catalog) -> Iterator[str]:
    """The statements, for one transaction; `before` is the schema as `columns` left it."""
    for one in group:
        yield from _table(before.table(one.name), one.after.sql, [*one.after.indexes.values()])


def pinned(pins: Sequence[Pin], before: Catalog) -> Iterator[str]:
    """The same for tables whose foreign keys name their columns from then on."""
    for pin in pins:
        was = before.table(pin.name)
        yield from _table(was, pin.after, [index.sql for index in was.indexes if index.sql is not None])


def _table(was: Table, statement: str, indexes: Sequence[str]) -> Iterator[str]:
    old = f"tenantry_old_{was.name}"
    names = {"table": quoted(was.name), "old": quoted(old)}
    yield STATEMENTS.step_aside.filled(**names)
    yield statement
    # The rowid is copied, unless a column is it.
    rowid = [] if was.rowid is None or was.rowid_alias is not None else [was.rowid]
    columns = ", ".join([*rowid, listed(was.stored)])
    yield STATEMENTS.copy.filled(columns=columns, **names)
    if was.autoincrement:
        called = {"name": literal(was.name), "was": literal(old)}
        yield STATEMENTS.count_anew.filled(**called)
        yield STATEMENTS.count_on.filled(**called)
    yield STATEMENTS.drop_old.filled(**names)
    yield from indexes
    yield from (trigger.sql for trigger in was.triggers)
