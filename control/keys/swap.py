"""The step that exchanges a primary key, whose new index is built already."""

from collections.abc import Callable, Iterator

from psycopg import sql

from control import indexes, names, partitioned_indexes
from control.keys.clauses import deferrable_as, identifiers, kept, together
from control.keys.sides import Key
from control.stage import Ground, Step
from sql.postgres.facts import Table
from sql.postgres.keys import STATEMENTS

_NOTHING = sql.SQL("")


def swap(before: Key, after: Key, whole: Callable[[Ground], bool]) -> Step:
    """Take one key for the other, with all that hangs on a key by its name, in one transaction.

    `whole` is asked right before, of a partitioned table: a key that lacks a partition's part would be none.
    """
    statements = list(
        _partition_by_partition(before, after) if after.was.kind == "p" else _at_once(before, after)
    )
    if before.columns and after.columns:
        for part in (*after.was.partitions, *after.was.branches, after.was):
            statements += _kept(part)
    return Step(
        what=f"{after.table}: primary key ({', '.join(after.columns) or 'none'})",
        statement=together(statements),
        lock="ACCESS EXCLUSIVE",
        done=after.is_there,
        gate=whole if after.was.kind == "p" else None,
        tables=partitioned_indexes.whole(after.was),
    )


def _at_once(before: Key, after: Key) -> Iterator[sql.Composed]:
    named = {"table": after.was.identifier, "name": sql.Identifier(after.name)}
    if not after.columns:
        yield STATEMENTS.drop_constraint.compose(**named)
        return
    (index,) = after.indexes
    swap = STATEMENTS.swap_key if before.columns else STATEMENTS.add_key
    yield swap.compose(**named, index=sql.Identifier(index.name), deferrable=_as_was(after.was))


def _partition_by_partition(before: Key, after: Key) -> Iterator[sql.Composed]:
    """A partitioned table takes no index for its key: its partitions do, and are attached to one ON ONLY it.

    Nothing is built and nothing read. PRIMARY KEY without ONLY would build the index of a partition that came
    a moment ago, under the lock.
    """
    was = after.was
    if before.columns:
        yield STATEMENTS.drop_constraint.compose(table=was.identifier, name=sql.Identifier(after.name))
    if not after.columns:
        return
    for index in after.indexes:
        yield STATEMENTS.add_key.compose(
            table=index.was.identifier,
            name=sql.Identifier(names.primary_key(index.was)),
            index=sql.Identifier(index.name),
            deferrable=_as_was(was),
        )
    for table in (was, *was.branches):
        yield STATEMENTS.key_on_only.compose(
            table=table.identifier,
            name=sql.Identifier(names.primary_key(table)),
            columns=identifiers(after.columns),
            include=indexes.include_of(indexes.key_index(after.table, was, after.columns, "").include),
            deferrable=_as_was(was),
        )
    for part in (*was.partitions, *reversed(was.branches)):
        above = partitioned_indexes.above(was, part)
        yield STATEMENTS.attach_key.compose(
            name=sql.Identifier(above.schema_, names.primary_key(above)),
            part=sql.Identifier(part.schema_, names.primary_key(part)),
        )


def _as_was(was: Table) -> sql.SQL:
    key = was.primary_key
    return deferrable_as(deferrable=key.deferrable, deferred=key.deferred) if key else _NOTHING


def _kept(was: Table) -> Iterator[sql.Composed]:
    """What a swap loses and the new key takes over."""
    key, index = was.primary_key, was.index(was.primary_key.index or "") if was.primary_key else None
    if key is None or index is None:
        return
    yield from kept(was, key, index)
