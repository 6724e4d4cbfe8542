"""The clauses that the statements about keys are composed of."""

from collections.abc import Iterator

from psycopg import sql

from sql.postgres.facts import Constraint, Index, Table
from sql.postgres.keys import STATEMENTS


def deferrable_as(*, deferrable: bool, deferred: bool) -> sql.SQL:
    """How a constraint is deferred, in the words of ALTER TABLE."""
    if not deferrable:
        return sql.SQL("NOT DEFERRABLE")
    return sql.SQL("DEFERRABLE INITIALLY DEFERRED" if deferred else "DEFERRABLE INITIALLY IMMEDIATE")


def comment_on(was: Table, name: str, comment: str) -> sql.Composed:
    """Give a constraint of the table its comment back."""
    return STATEMENTS.comment_on_constraint.compose(
        name=sql.Identifier(name), table=was.identifier, comment=sql.Literal(comment)
    )


def kept(was: Table, constraint: Constraint | None, index: Index) -> Iterator[sql.Composed]:
    """What an exchange of indexes loses of what hung on the old one's name, and the new one takes over."""
    name = sql.Identifier(index.name)
    if constraint is not None and constraint.comment is not None:
        yield comment_on(was, constraint.name, constraint.comment)
    if index.comment is not None:
        yield STATEMENTS.comment_on_index.compose(
            name=sql.Identifier(was.schema_, index.name), comment=sql.Literal(index.comment)
        )
    if index.clustered:
        yield STATEMENTS.cluster_on.compose(table=was.identifier, name=name)
    if index.replica_identity:
        yield STATEMENTS.replica_identity.compose(table=was.identifier, name=name)


def identifiers(columns: tuple[str, ...]) -> sql.Composed:
    """The columns as a list of quoted names."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def together(statements: list[sql.Composed]) -> sql.Composed:
    """Several statements that must hold together, for one transaction."""
    return sql.SQL(";\n").join(statements)
