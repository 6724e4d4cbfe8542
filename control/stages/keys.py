"""The composite keys, exchanged while everybody writes.

Will do, each line in a transaction of its own (the unique index of the new key stands since `indexes`):

1. each foreign key with the tenant in it, NOT VALID, beside the old one, leaning on that index;
2. validate it: from here on both hold;
3. drop the old foreign keys;
4. table by table drop the old key and make the index the primary key, in one statement;
5. give the foreign keys their old names, and comments, replica identity and the like back.

So integrity is never open and the longest lock takes milliseconds. A partitioned table's key is exchanged
partition by partition, in one transaction. Gate: every partition is known; and `application` is before it,
because old code that upserts on the old key stops working at 4. The column's default is left alone here: it
belongs to the write guard (`control.guard`), which goes in `verify`.

Undoing is the same walk the other way, with the old key's unique index built first. It is impossible once an
old key stands in two tenants: `cannot_undo` says so beforehand.
"""

from collections.abc import Iterator

from psycopg import sql

from control import indexes, names, partitioned_indexes, publications
from control.keys import Key, Reference, Side, sides
from control.plan.model import Plan
from control.stage import Closed, Ground, How, Step
from control.stages import columns
from sql.errors import GateClosedError
from sql.postgres import catalog
from sql.postgres.catalog import Action, Catalog, Table
from sql.postgres.connection import Connection
from sql.postgres.keys import STATEMENTS

_NOTHING = sql.SQL("")
_ACTIONS: dict[Action, sql.SQL] = {
    "a": sql.SQL("NO ACTION"),
    "r": sql.SQL("RESTRICT"),
    "c": sql.SQL("CASCADE"),
    "n": sql.SQL("SET NULL"),
    "d": sql.SQL("SET DEFAULT"),
}


class Keys:
    """The stage `keys`."""

    name = "keys"

    def gate(self, ground: Ground) -> Closed | None:
        """Every partition is known, every publication sends the new key; `application` is the real gate."""
        live = catalog.read(ground.connection, [table.name for table in ground.plan.tables])
        come = partitioned_indexes.others(ground.plan, ground.original, live)
        return come or publications.gate(ground.connection, sides(ground.plan, ground.original)[1])

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """From the old side to the new one."""
        old, new = sides(plan, original)
        for key in new.keys:
            for column in _nullable(plan, key):
                yield from _declare_not_null(key, column)
        yield from _walk(old, new)

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """From the new side to the old one."""
        old, new = sides(plan, original)
        yield from _walk(new, old)
        for key in new.keys:
            for column in _nullable(plan, key):
                yield from _allow_null(key, column)

    def no_way_back(self, ground: Ground) -> Closed | None:
        """Look for an old key that stands in two tenants."""
        reason = cannot_undo(ground.connection, ground.plan, ground.original)
        if reason is None:
            return None
        return Closed((reason,), f"`tenantry rollback --to {self.name}` goes back as far as it can")


STAGE = Keys()


def cannot_undo(connection: Connection, plan: Plan, original: Catalog) -> str | None:
    """Why the old keys can't come back: the first old key that stands in two tenants; None if they can.

    Reads the index of each composite key from end to end.
    """
    old, _ = sides(plan, original)
    live = catalog.read(connection, [key.table for key in old.keys])
    tenant = sql.Identifier(plan.tenant.column)
    for key in old.keys:
        if not key.columns or key.is_there(live):
            continue
        statement = STATEMENTS.shared_key.compose(
            key=_identifiers(key.columns), tenant=tenant, table=key.was.identifier
        )
        found = connection.execute(statement).fetchone()
        if found is not None:
            value, one, other = found
            return (
                f"{key.table}: {', '.join(key.columns)} = {value} is there for tenant {one!r} and for "
                f"{other!r}, so it can't be the key alone again; only deleting rows would undo this"
            )
    return None


def _walk(out_of: Side, into: Side) -> Iterator[Step]:
    for key in into.keys:
        if key.columns:
            yield from map(indexes.build, key.indexes)
    for reference in into.references:
        yield _add(reference)
        if reference.original.validated:
            yield _validate(reference)
    for reference in out_of.references:
        yield _drop(reference, reference.name)
        # A walk the other way that was broken off leaves it under this name.
        yield _drop(reference, reference.temporary)
    for key in out_of.keys:
        if key.columns:
            yield from map(indexes.drop, key.indexes)
    for before, after in zip(out_of.keys, into.keys, strict=True):
        yield _swap(before, after)
    for reference in into.references:
        yield _rename(reference)


def _add(reference: Reference) -> Step:
    key = reference.original
    to = f"{reference.target.name} ({', '.join(reference.target_columns)})"
    return Step(
        what=f"{reference.table}: foreign key {reference.name} onto {to}, for new rows",
        statement=STATEMENTS.add_foreign_key.compose(
            table=reference.was.identifier,
            name=sql.Identifier(reference.temporary),
            columns=_identifiers(reference.columns),
            target=reference.target.identifier,
            target_columns=_identifiers(reference.target_columns),
            match=sql.SQL("MATCH FULL" if reference.match == "f" else "MATCH SIMPLE"),
            on_update=_ACTIONS[key.on_update],
            on_delete=_on_delete(reference),
            deferrable=_deferrable(deferrable=key.deferrable, deferred=key.deferred),
        ),
        lock="SHARE ROW EXCLUSIVE",
        done=lambda live: reference.find(live) is not None,
        tables=_both(reference),
    )


def _validate(reference: Reference) -> Step:
    def done(live: Catalog) -> bool:
        found = reference.find(live)
        return found is not None and found.validated

    return Step(
        what=f"{reference.table}: validate {reference.name}",
        statement=STATEMENTS.validate.compose(
            table=reference.was.identifier, name=sql.Identifier(reference.temporary)
        ),
        lock="SHARE UPDATE EXCLUSIVE",
        done=done,
        how=How.ONLINE,
        tables=_both(reference),
    )


def _drop(reference: Reference, name: str) -> Step:
    """Drop this side's foreign key of that name; the other side's may bear it by now, and stays."""

    def done(live: Catalog) -> bool:
        found = live.table(reference.table).foreign_key(name)
        return found is None or found.columns != reference.columns

    return Step(
        what=f"{reference.table}: drop foreign key {name} ({', '.join(reference.columns)})",
        statement=STATEMENTS.drop_constraint.compose(
            table=reference.was.identifier, name=sql.Identifier(name)
        ),
        lock="ACCESS EXCLUSIVE",
        done=done,
        tables=_both(reference),
    )


def _swap(before: Key, after: Key) -> Step:
    statements = list(
        _partition_by_partition(before, after) if after.was.kind == "p" else _at_once(before, after)
    )
    if before.columns and after.columns:
        for part in (*after.was.partitions, *after.was.branches, after.was):
            statements += _kept(part)
    return Step(
        what=f"{after.table}: primary key ({', '.join(after.columns) or 'none'})",
        statement=_together(statements),
        lock="ACCESS EXCLUSIVE",
        done=after.is_there,
        gate=_nobody_came if after.was.kind == "p" else None,
        tables=partitioned_indexes.whole(after.was),
    )


def _nobody_came(ground: Ground) -> bool:
    """Asked right before the swap: a key that lacks a partition's part would be none."""
    closed = STAGE.gate(ground)
    if closed is not None:
        raise GateClosedError(STAGE.name, list(closed.facts), closed.opens)
    return True


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
            columns=_identifiers(after.columns),
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
    return _deferrable(deferrable=key.deferrable, deferred=key.deferred) if key else _NOTHING


def _kept(was: Table) -> Iterator[sql.Composed]:
    """What a swap loses and the new key takes over."""
    key, index = was.primary_key, was.index(was.primary_key.index or "") if was.primary_key else None
    if key is None or index is None:
        return
    name = sql.Identifier(key.name)
    if key.comment is not None:
        yield _comment(was, key.name, key.comment)
    if index.comment is not None:
        yield STATEMENTS.comment_on_index.compose(
            name=sql.Identifier(was.schema_, key.name), comment=sql.Literal(index.comment)
        )
    if index.clustered:
        yield STATEMENTS.cluster_on.compose(table=was.identifier, name=name)
    if index.replica_identity:
        yield STATEMENTS.replica_identity.compose(table=was.identifier, name=name)


def _rename(reference: Reference) -> Step:
    def done(live: Catalog) -> bool:
        found = live.table(reference.table).foreign_key(reference.name)
        return found is not None and found.columns == reference.columns

    rename = STATEMENTS.rename_constraint.compose(
        table=reference.was.identifier,
        name=sql.Identifier(reference.temporary),
        to=sql.Identifier(reference.name),
    )
    comment = reference.original.comment
    return Step(
        what=f"{reference.table}: {reference.name} has its name again",
        statement=_together(
            [rename, *([] if comment is None else [_comment(reference.was, reference.name, comment)])]
        ),
        lock="ACCESS EXCLUSIVE",
        done=done,
        tables=(reference.was.identifier,),
    )


def _nullable(plan: Plan, key: Key) -> Iterator[str]:
    """Columns of a new key that may hold NULL until then: making the key would scan the table for them."""
    table = next(table for table in plan.tables if table.name == key.table)
    for name in key.columns:
        column = key.was.column(name)
        if columns.nullable(plan, table) if column is None else not column.not_null:
            yield name


def _declare_not_null(key: Key, column: str) -> Iterator[Step]:
    """NOT NULL by way of a validated check: the scan is made while everybody writes."""
    check = names.not_null_check(key.was, column)
    named = {"table": key.was.identifier, "name": sql.Identifier(check)}

    def checked(live: Catalog) -> bool:
        return live.table(key.table).constraint(check) is not None

    def valid(live: Catalog) -> bool:
        found = live.table(key.table).constraint(check)
        return found is not None and found.validated

    yield Step(
        what=f"{key.table}: {column} is not NULL, for new rows",
        statement=STATEMENTS.check_not_null.compose(**named, column=sql.Identifier(column)),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: checked(live) or _is_not_null(key, column, live),
        tables=partitioned_indexes.whole(key.was),
    )
    yield Step(
        what=f"{key.table}: validate that {column} is not NULL",
        statement=STATEMENTS.validate.compose(**named),
        lock="SHARE UPDATE EXCLUSIVE",
        done=lambda live: valid(live) or _is_not_null(key, column, live),
        how=How.ONLINE,
        tables=partitioned_indexes.whole(key.was),
    )
    yield Step(
        what=f"{key.table}: {column} NOT NULL",
        statement=_together(
            [
                STATEMENTS.set_not_null.compose(table=key.was.identifier, column=sql.Identifier(column)),
                STATEMENTS.drop_constraint.compose(**named),
            ]
        ),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: _is_not_null(key, column, live) and not checked(live),
        tables=partitioned_indexes.whole(key.was),
    )


def _allow_null(key: Key, column: str) -> Iterator[Step]:
    check = names.not_null_check(key.was, column)
    yield Step(
        what=f"{key.table}: drop the check on {column}",
        statement=STATEMENTS.drop_constraint.compose(table=key.was.identifier, name=sql.Identifier(check)),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: live.table(key.table).constraint(check) is None,
        tables=partitioned_indexes.whole(key.was),
    )
    yield Step(
        what=f"{key.table}: {column} may be NULL again",
        # Of each partition too: on PostgreSQL 18 a key of its own has made its NOT NULL its own.
        statement=_together(
            [
                STATEMENTS.drop_not_null.compose(table=table, column=sql.Identifier(column))
                for table in partitioned_indexes.whole(key.was)
            ]
        ),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: not _is_not_null(key, column, live),
        tables=partitioned_indexes.whole(key.was),
    )


def _is_not_null(key: Key, name: str, live: Catalog) -> bool:
    column = live.table(key.table).column(name)
    return column is not None and column.not_null


def _on_delete(reference: Reference) -> sql.Composable:
    action = _ACTIONS[reference.original.on_delete]
    if not reference.set_columns:
        return action
    return sql.SQL("{} ({})").format(action, _identifiers(reference.set_columns))


def _deferrable(*, deferrable: bool, deferred: bool) -> sql.SQL:
    if not deferrable:
        return sql.SQL("NOT DEFERRABLE")
    return sql.SQL("DEFERRABLE INITIALLY DEFERRED" if deferred else "DEFERRABLE INITIALLY IMMEDIATE")


def _comment(was: Table, name: str, comment: str) -> sql.Composed:
    return STATEMENTS.comment_on_constraint.compose(
        name=sql.Identifier(name), table=was.identifier, comment=sql.Literal(comment)
    )


def _both(reference: Reference) -> tuple[sql.Identifier, ...]:
    if reference.was == reference.target:
        return (reference.was.identifier,)
    return (reference.was.identifier, reference.target.identifier)


def _identifiers(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _together(statements: list[sql.Composed]) -> sql.Composed:
    """Several statements that must hold together, for one transaction."""
    return sql.SQL(";\n").join(statements)
