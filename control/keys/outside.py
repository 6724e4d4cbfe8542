"""Foreign keys from tables that the plan doesn't name, onto a primary key that changes.

Such a table has no tenant that its foreign key could hold, so the old key's columns stay unique by
themselves: by an index of their own, built CONCURRENTLY before the swap, which stays as long as the new key
does. A foreign key leans on the oldest index that fits, and as long as the old key stands that is its. So it
can't be put beside the old one, as those within the plan are: in the swap's own transaction it is dropped and
added again NOT VALID, under its name, and nobody ever sees the table without it. For the rows that were there
the one that went vouched; it is validated afterwards all the same.

On the way back that index becomes the old key again, and the foreign keys follow in the same way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from control import indexes
from control.indexes import Wanted
from control.keys import crossing
from control.keys.clauses import together
from control.plan.model import Plan
from control.stage import How, Step
from sql.errors import CatalogError
from sql.postgres import outside
from sql.postgres.catalog import verbatim
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog, ForeignKey, Table
from sql.postgres.keys import STATEMENTS


@dataclass(frozen=True, slots=True)
class Outside:
    """A foreign key from outside the plan; `target` is the plan's name of the table that it points to."""

    target: str
    original: ForeignKey

    @property
    def called(self) -> str:
        """What an operator knows it by."""
        return f"{self.original.name} of {self.original.schema_}.{self.original.table}"

    @property
    def table(self) -> sql.Identifier:
        """The table it belongs to."""
        return sql.Identifier(self.original.schema_, self.original.table)

    def find(self, live: Catalog) -> ForeignKey | None:
        """It, as it is now."""
        return next((key for key in live.table(self.target).referenced_by if _same(key, self.original)), None)


def onto(table: str, plan: Plan, original: Catalog) -> Iterator[Outside]:
    """Those onto the primary key of a table; and those of tables of the plan whose edges may cross.

    Raises:
        CatalogError: the table is partitioned.
    """
    target = original.table(table)
    for key in _leaning(target, plan, original):
        one = Outside(table, key)
        if target.kind == "p":
            raise CatalogError(
                f"foreign key {one.called} points to {table}, which is partitioned and whose key changes: "
                "its old key can't stay unique; take that table into the plan, or drop the foreign key"
            )
        yield one


def _leaning(target: Table, plan: Plan, original: Catalog) -> Iterator[ForeignKey]:
    named = {(table.schema_, table.name) for table in original.tables.values()}
    primary = target.primary_key
    if primary is None:
        return
    for key in target.referenced_by:
        stays = (key.schema_, key.table) not in named or crossing.stays(plan, original, key)
        if key.target_index == primary.index and stays:
            yield key


def as_they_are(connection: Connection, plan: Plan, original: Catalog) -> Catalog:
    """The catalog of before, without those that somebody dropped since, with their tables or alone.

    Ours never are gone: each is dropped and added again in one transaction.
    """
    known = [key for table in original.tables.values() for key in _leaning(table, plan, original)]
    there = {one[:3] for one in outside.look(connection, known)}
    gone = [key for key in known if (key.schema_, key.table, key.name) not in there]
    if not gone:
        return original
    tables = {
        name: table.model_copy(
            update={"referenced_by": tuple(key for key in table.referenced_by if key not in gone)}
        )
        for name, table in original.tables.items()
    }
    return original.model_copy(update={"tables": tables})


def keep(index: Wanted) -> Step:
    """Build what keeps the old key's columns unique beside the new key."""
    return replace(
        indexes.build(index),
        what=f"{index.table}: index {index.name}, for foreign keys from outside the plan",
        done=index.is_there,
    )


def around(swap: Step, keys: Sequence[Outside]) -> Step:
    """The swap of a primary key, with the foreign keys from outside let go before it and added after it."""
    if not keys:
        return swap
    let_go = [_drop(one) for one in keys]
    again = [statement for one in keys for statement in _add(one)]
    of = {(one.original.schema_, one.original.table): one.table for one in keys}
    return replace(
        swap,
        what=f"{swap.what}, under {', '.join(one.called for one in keys)}",
        statement=together([*let_go, swap.statement, *again]),
        tables=(*of.values(), *swap.tables),
    )


def validate(keys: Iterable[Outside], swapped: Callable[[Catalog], bool]) -> Iterator[Step]:
    """Hold the rows of before against those that were valid; `swapped`: whether the key has been."""
    for one in keys:
        if one.original.validated:
            yield _validate(one, swapped)


def _validate(one: Outside, swapped: Callable[[Catalog], bool]) -> Step:
    def done(live: Catalog) -> bool:
        found = one.find(live)
        return swapped(live) and found is not None and found.validated

    name = one.original.name
    return Step(
        what=f"{one.target}: validate {one.called}",
        statement=STATEMENTS.validate.compose(table=one.table, name=sql.Identifier(name)),
        lock="SHARE UPDATE EXCLUSIVE",
        done=done,
        how=How.ONLINE,
        tables=(one.table,),
    )


def _drop(one: Outside) -> sql.Composed:
    return STATEMENTS.drop_constraint.compose(table=one.table, name=sql.Identifier(one.original.name))


def _add(one: Outside) -> Iterator[sql.Composed]:
    key = one.original
    name = sql.Identifier(key.name)
    definition = f"{key.definition} NOT VALID" if key.validated else key.definition
    yield outside.STATEMENTS.add_again.compose(table=one.table, name=name, definition=verbatim(definition))
    if key.comment is not None:
        yield STATEMENTS.comment_on_constraint.compose(
            name=name, table=one.table, comment=sql.Literal(key.comment)
        )


def _same(one: ForeignKey, other: ForeignKey) -> bool:
    return (one.schema_, one.table, one.name) == (other.schema_, other.table, other.name)
