"""Foreign keys of tenants' tables: to the tenant's own tables inside the plan, else to where they led.

While the tables are mirrored they are deferred, and RESTRICT is none: a statement that takes a row and what
points to it is written to the other side row by row, and would else fail halfway. Once the shared tables are
out of the way each is again what it was.
"""

from collections.abc import Iterator, Mapping

from psycopg import sql

from sql.errors import CatalogError
from sql.postgres.catalog import verbatim
from sql.postgres.facts import ForeignKey
from sql.postgres.schemas import STATEMENTS, Pattern, Reference

#: How a definition ends that says when it is looked at.
_ENDINGS = (" NOT VALID", " INITIALLY DEFERRED", " DEFERRABLE")
_RESTRICTS = (" ON UPDATE RESTRICT", " ON DELETE RESTRICT")
_DEFERRED = sql.SQL("DEFERRABLE INITIALLY DEFERRED")


def add(schema: str, pattern: Pattern, inside: Mapping[int, str]) -> Iterator[sql.Composed]:
    """The foreign keys of a tenant's table, not validated; `inside` are names of copies by oid."""
    for reference in pattern.references_:
        yield from _add(schema, pattern, reference, inside, mirrored=True)


def validate(schema: str, pattern: Pattern) -> Iterator[sql.Composed]:
    """Each looked at once more, row by row."""
    table = sql.Identifier(schema, pattern.name)
    for reference in pattern.references_:
        yield STATEMENTS.validate.compose(table=table, name=sql.Identifier(reference.name))


def looked_at(table: sql.Identifier, reference: Reference | ForeignKey, *, mirrored: bool) -> sql.Composed:
    """Let one be looked at when the transaction ends, or when it always was."""
    return STATEMENTS.alter_constraint.compose(
        table=table,
        name=sql.Identifier(reference.name),
        deferrability=_DEFERRED if mirrored else _deferrability(reference),
    )


def settle(
    schema: str, pattern: Pattern, inside: Mapping[int, str], *, mirrored: bool
) -> Iterator[sql.Composed]:
    """Each as it is to stay, or while mirrored; one that restricts is made anew, and validated later."""
    table = sql.Identifier(schema, pattern.name)
    for reference in pattern.references_:
        if reference.restricts:
            yield STATEMENTS.drop_constraint.compose(table=table, name=sql.Identifier(reference.name))
            yield from _add(schema, pattern, reference, inside, mirrored=mirrored)
        else:
            yield looked_at(table, reference, mirrored=mirrored)


def _deferrability(reference: Reference | ForeignKey) -> sql.SQL:
    if not reference.deferrable:
        return sql.SQL("NOT DEFERRABLE")
    return _DEFERRED if reference.deferred else sql.SQL("DEFERRABLE INITIALLY IMMEDIATE")


def _add(
    schema: str, pattern: Pattern, reference: Reference, inside: Mapping[int, str], *, mirrored: bool
) -> Iterator[sql.Composed]:
    beginning = f"FOREIGN KEY ({reference.columns}) REFERENCES {reference.target_quoted}("
    if not reference.definition.startswith(beginning):
        raise CatalogError(f"can't take over {reference.definition!r}: it was to begin with {beginning!r}")
    rest = reference.definition[len(beginning) :]
    for ending in _ENDINGS:
        rest = rest.removesuffix(ending)
    if mirrored:
        for action in _RESTRICTS:
            rest = rest.replace(action, "")
    target: sql.Composable = verbatim(reference.target_quoted)
    if reference.target in inside:
        target = sql.Identifier(schema, inside[reference.target])
    table, name = sql.Identifier(schema, pattern.name), sql.Identifier(reference.name)
    yield STATEMENTS.add_constraint.compose(
        table=table,
        name=name,
        definition=sql.SQL("FOREIGN KEY ({}) REFERENCES {}({} {} NOT VALID").format(
            verbatim(reference.columns),
            target,
            verbatim(rest),
            _DEFERRED if mirrored else _deferrability(reference),
        ),
    )
    if reference.comment is not None:
        yield STATEMENTS.comment.compose(
            what=sql.SQL("CONSTRAINT {} ON {}").format(name, table), comment=sql.Literal(reference.comment)
        )
