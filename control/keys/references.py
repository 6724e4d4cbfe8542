"""The steps of one foreign key on its way from one side to the other."""

from collections.abc import Sequence

from psycopg import sql

from control import partitioned_indexes
from control.keys.clauses import comment_on, deferrable_as, identifiers, together
from control.keys.sides import Reference
from control.stage import How, Step
from sql.postgres.facts import Action, Catalog, Table
from sql.postgres.keys import STATEMENTS

_ACTIONS: dict[Action, sql.SQL] = {
    "a": sql.SQL("NO ACTION"),
    "r": sql.SQL("RESTRICT"),
    "c": sql.SQL("CASCADE"),
    "n": sql.SQL("SET NULL"),
    "d": sql.SQL("SET DEFAULT"),
}


def add(reference: Reference) -> Step:
    """Add it beside the other side's, for what is written from now on."""
    to = f"{reference.target.name} ({', '.join(reference.target_columns)})"
    return Step(
        what=f"{reference.table}: foreign key {reference.name} onto {to}, for new rows",
        statement=adding(reference, reference.was, reference.temporary, checked=False),
        lock="SHARE ROW EXCLUSIVE",
        done=lambda live: reference.find(live) is not None,
        tables=tables_of(reference),
    )


def adding(reference: Reference, part: Table, name: str, *, checked: bool) -> sql.Composed:
    """The statement that adds it to its table or a partition; NOT VALID unless it is to be `checked`."""
    key = reference.original
    return STATEMENTS.add_foreign_key.compose(
        table=part.identifier,
        name=sql.Identifier(name),
        columns=identifiers(reference.columns),
        target=reference.target.identifier,
        target_columns=identifiers(reference.target_columns),
        match=sql.SQL("MATCH FULL" if reference.match == "f" else "MATCH SIMPLE"),
        on_update=_ACTIONS[key.on_update],
        on_delete=_on_delete(reference),
        deferrable=deferrable_as(deferrable=key.deferrable, deferred=key.deferred),
        validity=sql.SQL("" if checked else "NOT VALID"),
    )


def validate(reference: Reference, name: str) -> Step:
    """Hold the rows of before against it; `name` is what it is called meanwhile."""

    def done(live: Catalog) -> bool:
        found = reference.find(live)
        return found is not None and found.validated

    return Step(
        what=f"{reference.table}: validate {reference.name}",
        statement=STATEMENTS.validate.compose(table=reference.was.identifier, name=sql.Identifier(name)),
        lock="SHARE UPDATE EXCLUSIVE",
        done=done,
        how=How.ONLINE,
        tables=tables_of(reference),
    )


def drop(reference: Reference, name: str) -> Step:
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
        tables=tables_of(reference),
    )


def rename(reference: Reference) -> Step:
    """Give it the name that both sides have, and its comment."""

    def done(live: Catalog) -> bool:
        found = live.table(reference.table).foreign_key(reference.name)
        return found is not None and found.columns == reference.columns

    # The server renames the whole's alone, and leaves each partition's as it is.
    whole = (reference.was, *reference.was.branches, *reference.was.partitions)
    renames = [
        STATEMENTS.rename_constraint.compose(
            table=part.identifier,
            name=sql.Identifier(reference.temporary),
            to=sql.Identifier(reference.name),
        )
        for part in whole
        if part is reference.was or is_free(part, reference.name)
    ]
    comment = reference.original.comment
    return Step(
        what=f"{reference.table}: {reference.name} has its name again",
        statement=together(
            [*renames, *([] if comment is None else [comment_on(reference.was, reference.name, comment)])]
        ),
        lock="ACCESS EXCLUSIVE",
        done=done,
        tables=partitioned_indexes.whole(reference.was),
    )


def _on_delete(reference: Reference) -> sql.Composable:
    action = _ACTIONS[reference.original.on_delete]
    if not reference.set_columns:
        return action
    return sql.SQL("{} ({})").format(action, identifiers(reference.set_columns))


def is_free(part: Table, name: str) -> bool:
    """Whether a partition has nothing of its own that is called like the whole's foreign key."""
    return part.constraint(name) is None and part.foreign_key(name) is None


def tables_of(reference: Reference) -> tuple[sql.Identifier, ...]:
    """What a lock on both its tables falls on, their partitions among them."""
    was = reference.was
    return on_both((was, *was.branches, *was.partitions), reference.target)


def on_both(parts: Sequence[Table], target: Table) -> tuple[sql.Identifier, ...]:
    """These parts of the table it belongs to, and all of the one that it points to; each once."""
    tables = [part.identifier for part in parts]
    return (*tables, *(table for table in partitioned_indexes.whole(target) if table not in tables))
