"""Who may do what: the facts from which grants are written, and the grants on the ledger."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

from psycopg import sql
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import class_row

from sql.errors import CatalogError, GivenWrongError
from sql.named import load
from sql.postgres.connection import Connection
from sql.tenant_source import qualified

STATEMENTS = load(Path(__file__).parent, "roles")


@dataclass(frozen=True, slots=True)
class OfDatabase:
    """The database: whether everybody may connect, WAL is archived, and functions' calls are counted."""

    name: str
    open: bool
    archives: bool
    counts_functions: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view that a migration alters or reads.

    `named` is what the plan calls it; None for a partition, and for what is only altered with the plan's.
    `ours` is one of the plan's tables or of their partitions; others of ours have foreign keys onto it where
    it is `pointed_to`. Its owner may create in its schema where it `owner_creates`, and everybody may use
    that where it is open. Where `held_write`, a role that policies are for reads and writes its rows.
    """

    schema: str
    name: str
    kind: str
    named: str | None
    ours: bool
    pointed_to: bool
    owner: str
    owner_is_superuser: bool
    row_security: bool
    owner_creates: bool
    held_write: bool
    schema_open: bool

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted name with its schema."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Function:
    """A function that not everybody may run; `arguments` as the server writes them.

    `by_tables`: a check, a default or an index of the plan's tables runs it, not only the plan. `owner_runs`:
    an owner of theirs may run it, and so whoever acts for the owner.
    """

    schema: str
    name: str
    arguments: str
    by_tables: bool
    owner_runs: bool

    @property
    def signature(self) -> sql.Composed:
        """The quoted name with its arguments."""
        # The arguments are the server's own spelling, quoted where they must be.
        return sql.SQL("{}({})").format(sql.Identifier(self.schema, self.name), sql.SQL(self.arguments))


def of_database(connection: Connection) -> OfDatabase:
    """Read what the grants need to know of this database.

    Raises:
        CatalogError: it was dropped at this moment.
    """
    with connection.cursor(row_factory=class_row(OfDatabase)) as cursor:
        found = cursor.execute(STATEMENTS.database.compose()).fetchone()
    if found is None:
        raise CatalogError("the catalog doesn't list the database of this session")
    return found


def relations(
    connection: Connection, ours: Sequence[str], beside: Sequence[str], held: Sequence[str]
) -> list[Relation]:
    """The plan's tables, those `beside` them, and what is altered with them; what isn't there is left out.

    `held` are the roles that the plan's policies are for.
    """
    names = [*ours, *beside]
    given = {
        "names": names,
        "identifiers": [qualified(name).as_string() for name in names],
        "ours": [True] * len(ours) + [False] * len(beside),
        "held": list(held),
    }
    with connection.cursor(row_factory=class_row(Relation)) as cursor:
        return cursor.execute(STATEMENTS.relations.compose(), given).fetchall()


def closed_functions(
    connection: Connection, tables: Sequence[Relation], expressions: Sequence[str]
) -> list[Function]:
    """Functions that updates of the tables run, or expressions name, and that not everybody may run."""
    given = {"tables": [t.identifier.as_string() for t in tables], "expressions": list(expressions)}
    with connection.cursor(row_factory=class_row(Function)) as cursor:
        return cursor.execute(STATEMENTS.closed_functions.compose(), given).fetchall()


def admit(connection: Connection, *, worker: str, exporter: str) -> None:
    """Let both roles into the ledger, as far as they are not in; nothing is written where they are.

    Raises:
        GivenWrongError: one of the roles isn't there, or this role may grant nothing on the ledger.
    """
    for who, role in (("worker", worker), ("exporter", exporter)):
        row = connection.execute(STATEMENTS.is_there.compose(), {"role": role}).fetchone()
        if row is None or not row[0]:
            raise GivenWrongError(
                f"[roles] of the plan names {role}, and there is no such role: "
                "`tenantry roles --sql` writes the script that makes it"
            )
        with connection.transaction():  # what is taken back and granted again, a worker at work never lacks
            _admit(connection, who, role)


def _admit(connection: Connection, who: str, role: str) -> None:
    given = {"who": who, "role": role}
    if who == "worker":
        for (table,) in connection.execute(STATEMENTS.ledger_exceeds.compose(), given).fetchall():
            connection.execute(
                STATEMENTS.ledger_revoked.compose(table=sql.Identifier(table), role=sql.Identifier(role))
            )
    lacking = connection.execute(STATEMENTS.ledger_lacks.compose(), given).fetchall()
    if not lacking:
        return
    with suppress(InsufficientPrivilege), connection.transaction():
        for table, column, right in lacking:
            connection.execute(_granted(role, table, column, right))
    # Who owns nothing there is refused, or only warned of it.
    if connection.execute(STATEMENTS.ledger_lacks.compose(), given).fetchone() is not None:
        row = connection.execute(STATEMENTS.ledger_owner.compose()).fetchone()
        owner = row[0] if row is not None else "nobody"
        raise GivenWrongError(
            f"{role} can't be let into the ledger: it is {owner}'s, as which somebody began this migration; "
            "go on as that role, or as a member of it"
        )


def _granted(role: str, table: str | None, column: str | None, right: LiteralString) -> sql.Composed:
    if table is None:
        return STATEMENTS.ledger_usage.compose(role=sql.Identifier(role))
    rights: sql.Composable = sql.SQL(right)
    if column is not None:
        rights = sql.SQL("{} ({})").format(rights, sql.Identifier(column))
    return STATEMENTS.ledger_rights.compose(
        rights=rights, table=sql.Identifier(table), role=sql.Identifier(role)
    )


def admit_to_guard(connection: Connection, *, exporter: str) -> None:
    """Let the exporter read the sequences of the write guard that it can't read yet."""
    for (sequence,) in connection.execute(STATEMENTS.guard_lacks.compose(), {"role": exporter}).fetchall():
        connection.execute(
            STATEMENTS.guard_for_exporter.compose(
                sequence=sql.Identifier(sequence), role=sql.Identifier(exporter)
            )
        )
