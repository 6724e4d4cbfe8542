"""Foreign keys of partitioned tables, and onto them.

Of a partitioned table: before PostgreSQL 18 it takes none NOT VALID. So each partition gets one of its own,
and each is validated; the one of the whole then finds them, takes them as its parts and reads no row.

Onto a partitioned table: it has no index for the new key before the swap, whose parts stand alone until then.
So in the swap's own transaction the old foreign keys are dropped and the new ones added NOT VALID, under the
names that both sides have: nobody ever sees a table without. For the rows that were there the ones that went
vouched; they are validated afterwards all the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from psycopg import sql

from control.keys import references
from control.keys.clauses import comment_on, together
from control.keys.sides import Reference
from control.stage import Ground, How, Step
from sql.postgres.facts import Catalog, ForeignKey, Table
from sql.postgres.keys import STATEMENTS

#: From here on a partitioned table takes a foreign key NOT VALID.
_NOT_VALID_SINCE = 180_000

#: Asked before the foreign key of a whole table is added: a partition that came would be read under the lock.
Whole = Callable[[Ground], bool]


def in_parts(reference: Reference, server_version: int) -> bool:
    """Whether it has to be made partition by partition."""
    return reference.was.kind == "p" and server_version < _NOT_VALID_SINCE


def beside(reference: Reference, whole: Whole) -> Iterator[Step]:
    """Add it beside the other side's, partition by partition, validated; then the one of the whole table."""
    yield from _of_parts(reference, reference.temporary)
    yield _of_the_whole(reference, reference.temporary, whole)


def drop_parts(reference: Reference) -> Iterator[Step]:
    """Drop what a walk the other way, broken off, has left on partitions."""
    for part in reference.was.partitions:
        yield Step(
            what=f"{reference.table}: drop foreign key {reference.temporary} of {part.name}",
            statement=STATEMENTS.drop_constraint.compose(
                table=part.identifier, name=sql.Identifier(reference.temporary)
            ),
            lock="ACCESS EXCLUSIVE",
            done=_is_not_there(reference, part),
            tables=references.on_both((part,), reference.target),
        )


def around(
    swap: Step, out_of: Sequence[Reference], into: Sequence[Reference], *, server_version: int
) -> Step:
    """The swap of a partitioned table's key, with the foreign keys onto it dropped before and added after."""
    if not into:
        return swap
    statements = [statement for one in out_of for statement in _drops(one, server_version)]
    statements.append(swap.statement)
    for one in into:
        if in_parts(one, server_version):
            statements += [
                references.adding(one, part, _called(one, part), checked=False) for part in one.was.partitions
            ]
        else:
            statements += [references.adding(one, one.was, one.name, checked=False), *_comment(one)]
    tables = list(swap.tables)
    for one in into:
        tables += [table for table in references.tables_of(one) if table not in tables]
    return replace(
        swap,
        what=f"{swap.what}, under {', '.join(f'{one.name} of {one.table}' for one in into)}",
        statement=together(statements),
        tables=tuple(tables),
    )


def afterwards(into: Sequence[Reference], whole: Whole, *, server_version: int) -> Iterator[Step]:
    """Validate what was added in the swap; then the one of a whole table that was made in parts."""
    for one in into:
        if in_parts(one, server_version):
            for part in one.was.partitions:
                yield _validate_part(one, part, _called(one, part))
            yield _of_the_whole(one, one.name, whole)
        elif one.original.validated:
            yield references.validate(one, one.name)


def _of_parts(reference: Reference, name: str) -> Iterator[Step]:
    for part in reference.was.partitions:
        yield Step(
            what=f"{reference.table}: foreign key {reference.name} of {part.name}, for new rows",
            statement=references.adding(reference, part, name, checked=False),
            lock="SHARE ROW EXCLUSIVE",
            done=_is_there(reference, part, lambda _key: True),
            tables=references.on_both((part,), reference.target),
        )
        yield _validate_part(reference, part, name)


def _validate_part(reference: Reference, part: Table, name: str) -> Step:
    return Step(
        what=f"{reference.table}: validate {reference.name} of {part.name}",
        statement=STATEMENTS.validate.compose(table=part.identifier, name=sql.Identifier(name)),
        lock="SHARE UPDATE EXCLUSIVE",
        done=_is_there(reference, part, lambda key: key.validated),
        how=How.ONLINE,
        tables=references.on_both((part,), reference.target),
    )


def _of_the_whole(reference: Reference, name: str, whole: Whole) -> Step:
    statements = [references.adding(reference, reference.was, name, checked=True)]
    return Step(
        what=f"{reference.table}: foreign key {reference.name}, of those of its partitions",
        statement=together([*statements, *(_comment(reference) if name == reference.name else [])]),
        lock="SHARE ROW EXCLUSIVE",
        done=lambda live: reference.find(live) is not None,
        gate=whole,
        tables=references.tables_of(reference),
    )


def _called(reference: Reference, part: Table) -> str:
    """What it is called on a partition, which may have something else under the whole's name."""
    return reference.name if references.is_free(part, reference.name) else reference.temporary


def _drops(reference: Reference, server_version: int) -> Iterator[sql.Composed]:
    was = reference.was
    yield STATEMENTS.drop_constraint.compose(table=was.identifier, name=sql.Identifier(reference.name))
    # Its parts go with it, but those that a walk, broken off, has made and not taken together.
    for part in was.partitions if in_parts(reference, server_version) else ():
        name = sql.Identifier(_called(reference, part))
        yield STATEMENTS.drop_constraint.compose(table=part.identifier, name=name)


def _comment(reference: Reference) -> list[sql.Composed]:
    comment = reference.original.comment
    return [] if comment is None else [comment_on(reference.was, reference.name, comment)]


def _on_part(reference: Reference, part: Table, live: Catalog) -> ForeignKey | None:
    """The foreign key that a partition has for itself; one that belongs to the whole's is not told of."""
    there = next((one for one in live.table(reference.table).partitions if one.oid == part.oid), None)
    keys = there.foreign_keys if there is not None else ()
    named = (reference.name, reference.temporary)
    return next((key for key in keys if key.name in named and key.columns == reference.columns), None)


def _is_there(
    reference: Reference, part: Table, enough: Callable[[ForeignKey], bool]
) -> Callable[[Catalog], bool]:
    def done(live: Catalog) -> bool:
        table = live.table(reference.table)
        if reference.find(live) is not None or all(one.oid != part.oid for one in table.partitions):
            return True
        found = _on_part(reference, part, live)
        return found is not None and enough(found)

    return done


def _is_not_there(reference: Reference, part: Table) -> Callable[[Catalog], bool]:
    def done(live: Catalog) -> bool:
        found = _on_part(reference, part, live)
        return found is None or found.name != reference.temporary

    return done
