"""NOT NULL for columns of a new key, by a validated check: no row is read under a strong lock."""

from collections.abc import Iterator

from psycopg import sql

from control import names, partitioned_indexes
from control.keys.clauses import together
from control.keys.sides import Key
from control.stage import How, Step
from sql.postgres.facts import Catalog
from sql.postgres.keys import STATEMENTS


def declare(key: Key, column: str) -> Iterator[Step]:
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
        statement=together(
            [
                STATEMENTS.set_not_null.compose(table=key.was.identifier, column=sql.Identifier(column)),
                STATEMENTS.drop_constraint.compose(**named),
            ]
        ),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: _is_not_null(key, column, live) and not checked(live),
        tables=partitioned_indexes.whole(key.was),
    )


def allow(key: Key, column: str) -> Iterator[Step]:
    """Let it be NULL again, and drop the check that a walk there was broken off with."""
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
        statement=together(
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
