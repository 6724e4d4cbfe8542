"""Reads the catalog as typed values: what a stage asks before and after each step."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Cursor, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from sql.errors import CatalogError
from sql.named import load
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog, Table
from sql.tenant_source import split_name

STATEMENTS = load(Path(__file__).parent, "catalog")

#: The schemas that are ours: the ledger, the write guard, the functions of policies.
OURS = ("tenantry", "tenantry_guard", "tenantry_rls", "tenantry_tenants", "tenantry_mirror")


def read(connection: Connection, names: Sequence[str]) -> Catalog:
    """Read the tables called `names` (as the plan writes them) in seven round trips, however many they are.

    Unqualified names are looked for in the connection's search path. Works inside and outside a transaction.

    Raises:
        ValueError: not a table name.
    """
    with _bare(connection):
        tables, path = _tables(connection, names)
        schemas, functions, sequences, triggers = _one(
            connection.execute(STATEMENTS.ours.compose(), {"schemas": list(OURS)})
        )
    return Catalog(
        server_version=connection.info.server_version,
        tables=tables,
        functions=functions,
        sequences=sequences,
        triggers=triggers,
        schemas=schemas,
        search_path=path,
    )


def table(connection: Connection, name: str) -> Table | None:
    """Read one table alone; None where it isn't there.

    Raises:
        ValueError: not a table name.
    """
    with _bare(connection):
        return _tables(connection, [name])[0].get(name)


def _bare(connection: Connection) -> AbstractContextManager[psycopg.Transaction]:
    """What sets the search path back that is changed within: a transaction's end, or a savepoint's rollback.

    Not a rollback of both: with each psycopg forgets all prepared statements.
    """
    within = connection.info.transaction_status != TransactionStatus.IDLE
    return connection.transaction(force_rollback=within)


def _tables(connection: Connection, names: Sequence[str]) -> tuple[dict[str, Table], tuple[str, ...]]:
    """The tables that are there, by name, and the search path in which they were looked for."""
    oids, path = _resolved(connection, names)
    roots = {"oids": [oid for oid in oids if oid is not None]}
    if not roots["oids"]:
        return {}, path
    connection.execute(STATEMENTS.bare_search_path.compose())
    partitions = connection.execute(STATEMENTS.partitions.compose(), roots, prepare=True).fetchall()
    there = {"oids": [*roots["oids"], *(part for _, part, _ in partitions)]}
    facts: dict[int, dict[str, Any]] = {
        oid: table | {"foreign_keys": [], "referenced_by": []}
        for oid, table in connection.execute(
            STATEMENTS.tables.compose(), there | {"path": path}, prepare=True
        )
    }
    for source, target, key in connection.execute(STATEMENTS.foreign_keys.compose(), there, prepare=True):
        if source in facts:
            facts[source]["foreign_keys"].append(key)
        if target in facts:
            facts[target]["referenced_by"].append(key)
    tables = {oid: Table.model_validate(fact) for oid, fact in facts.items()}
    for root, group in groupby(partitions, key=itemgetter(0)):
        under = list(group)
        leaves = [tables[part] for _, part, is_leaf in under if is_leaf]
        branches = [tables[part] for _, part, is_leaf in under if not is_leaf]
        tables[root] = _partitioned(tables[root], leaves, branches)
    return {name: tables[oid] for name, oid in zip(names, oids, strict=True) if oid in tables}, path


def found(connection: Connection, names: Sequence[str]) -> list[str]:
    """Those of the names whose tables are there.

    Raises:
        ValueError: not a table name.
    """
    oids, _ = _resolved(connection, names)
    return [name for name, oid in zip(names, oids, strict=True) if oid is not None]


def called(connection: Connection, was: Table) -> str | None:
    """What a table is called now, quoted and with its schema; None if it was dropped."""
    asked = {"oid": was.oid, "columns": [column.name for column in was.columns]}
    found = connection.execute(STATEMENTS.called.compose(), asked).fetchone()
    return str(found[0]) if found else None


def _resolved(connection: Connection, names: Sequence[str]) -> tuple[list[int | None], tuple[str, ...]]:
    """The oid of each table, and the search path in which it was looked for."""
    quoted = [".".join('"' + part.replace('"', '""') + '"' for part in split_name(name)) for name in names]
    oids, path = _one(connection.execute(STATEMENTS.resolve.compose(), {"names": quoted}))
    if None in oids and _one(connection.execute(STATEMENTS.has_mirror.compose()))[0]:
        # With a schema for each tenant the shared tables end under another name, and stay those of the plan.
        away: dict[str, int] = dict(connection.execute(STATEMENTS.renamed_away.compose()).fetchall())
        oids = [away.get(name, oid) if oid is None else oid for name, oid in zip(names, oids, strict=True)]
    return oids, path


def _partitioned(table: Table, partitions: Sequence[Table], branches: Sequence[Table]) -> Table:
    known = all(partition.rows >= 0 for partition in partitions)
    return table.model_copy(
        update={
            "partitions": tuple(partitions),
            "branches": tuple(branches),
            "rows": sum(partition.rows for partition in partitions) if known else -1,
            "bytes": sum(partition.bytes for partition in partitions),
        }
    )


def verbatim(definition: str) -> sql.SQL:
    """A definition that the server itself wrote, as SQL."""
    return sql.SQL(definition)


def _one(cursor: Cursor[TupleRow]) -> TupleRow:
    row = cursor.fetchone()
    if row is None:
        raise CatalogError("a SELECT without FROM gave no row")
    return row
