"""The steps of one foreign key on its way from one side to the other."""

from psycopg import sql

from control.keys.clauses import comment_on, deferrable_as, identifiers, together
from control.keys.sides import Reference
from control.stage import How, Step
from sql.postgres.catalog import Action, Catalog
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
    key = reference.original
    to = f"{reference.target.name} ({', '.join(reference.target_columns)})"
    return Step(
        what=f"{reference.table}: foreign key {reference.name} onto {to}, for new rows",
        statement=STATEMENTS.add_foreign_key.compose(
            table=reference.was.identifier,
            name=sql.Identifier(reference.temporary),
            columns=identifiers(reference.columns),
            target=reference.target.identifier,
            target_columns=identifiers(reference.target_columns),
            match=sql.SQL("MATCH FULL" if reference.match == "f" else "MATCH SIMPLE"),
            on_update=_ACTIONS[key.on_update],
            on_delete=_on_delete(reference),
            deferrable=deferrable_as(deferrable=key.deferrable, deferred=key.deferred),
        ),
        lock="SHARE ROW EXCLUSIVE",
        done=lambda live: reference.find(live) is not None,
        tables=_both(reference),
    )


def validate(reference: Reference) -> Step:
    """Hold the rows of before against it."""

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
        tables=_both(reference),
    )


def rename(reference: Reference) -> Step:
    """Give it the name that both sides have, and its comment."""

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
        statement=together(
            [rename, *([] if comment is None else [comment_on(reference.was, reference.name, comment)])]
        ),
        lock="ACCESS EXCLUSIVE",
        done=done,
        tables=(reference.was.identifier,),
    )


def _on_delete(reference: Reference) -> sql.Composable:
    action = _ACTIONS[reference.original.on_delete]
    if not reference.set_columns:
        return action
    return sql.SQL("{} ({})").format(action, identifiers(reference.set_columns))


def _both(reference: Reference) -> tuple[sql.Identifier, ...]:
    if reference.was == reference.target:
        return (reference.was.identifier,)
    return (reference.was.identifier, reference.target.identifier)
