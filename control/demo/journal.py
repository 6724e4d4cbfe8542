"""Checks the final tables against what the database acknowledged to the demo's application.

Every row is accounted for: those that the application wrote by its journal, the others by the sample's
formulas.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from psycopg import sql
from psycopg.rows import class_row

from control.demo import sample
from control.demo.entries import (
    DeleteEntry,
    EndEntry,
    EntityEntry,
    Entry,
    RelationEntry,
    SharedEntry,
    read,
)
from sql.named import load
from sql.postgres import connection as postgres
from sql.postgres.connection import Connection

STATEMENTS = load(Path(postgres.__file__).parent, "journal")

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class Check:
    """One property of the final tables; `evidence` has the counts, and a key where it does not hold."""

    name: str
    ok: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class JournalResult:
    """Whether everything is as it was acknowledged; `acknowledged` is how many writes were."""

    acknowledged: int
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)


@dataclass(slots=True)
class _Promised:
    """What all connections together were promised."""

    entities: dict[str, EntityEntry] = field(default_factory=dict)
    relations: dict[str, RelationEntry] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    gone_unknown: bool = False
    shared: list[SharedEntry] = field(default_factory=list)
    acknowledged: int = 0
    unended: int = 0


def check(
    connection: Connection,
    folder: Path,
    *,
    entities: int,
    relations: int | None = None,
    tenant_column: str | None,
) -> JournalResult:
    """Compare the tables with the journals in `folder`, once the application has stopped.

    Args:
        connection: in autocommit, and not filtered by row-level security.
        folder: the application's.
        entities: as the sample was filled.
        relations: as the sample was filled.
        tenant_column: None before the migration, and after a rollback.

    Raises:
        GivenWrongError: there is no journal, or one that can't be read.
    """
    relations = 2 * entities if relations is None else relations
    journals = read(folder)
    promised = _promised(journals)
    with connection.transaction():
        _bring(connection, promised)
        checks = tuple(
            _compare(
                connection, promised, entities=entities, relations=relations, tenant_column=tenant_column
            )
        )
    complete = Check(
        "journal complete",
        promised.unended == 0,
        f"{len(journals) - promised.unended} of {len(journals)} connections ended in good order, "
        f"{promised.acknowledged:,} writes acknowledged",
    )
    return JournalResult(promised.acknowledged, (complete, *checks))


def _promised(journals: list[list[Entry]]) -> _Promised:
    promised = _Promised()
    for entries in journals:
        shared: dict[str, list[SharedEntry]] = {}
        for entry in entries:
            match entry:
                case EntityEntry():
                    promised.entities[entry.id] = entry
                case RelationEntry():
                    promised.relations[entry.id] = entry
                case DeleteEntry():
                    promised.entities.pop(entry.id, None)
                    promised.deleted.add(entry.id)
                    promised.gone.update(entry.relations or ())
                    promised.gone_unknown |= entry.relations is None
                case SharedEntry(sure=True):
                    # The last write on it is the last acknowledged one of *its* connection: so of each
                    # connection only the last can stand in the end, and those whose answer was lost.
                    shared[entry.id] = [entry]
                case SharedEntry():
                    shared.setdefault(entry.id, []).append(entry)
                case EndEntry():
                    promised.acknowledged -= 1
            promised.acknowledged += 1
        promised.unended += not entries or not isinstance(entries[-1], EndEntry)
        promised.shared += [entry for candidates in shared.values() for entry in candidates]
    return promised


def _bring(connection: Connection, promised: _Promised) -> None:
    for statement in (
        STATEMENTS.memory,
        STATEMENTS.create_entities,
        STATEMENTS.create_relations,
        STATEMENTS.create_deleted,
        STATEMENTS.create_gone,
        STATEMENTS.create_shared,
    ):
        connection.execute(statement.compose())
    _copy(
        connection, "entities", ((e.id, e.org, json.dumps(e.properties)) for e in promised.entities.values())
    )
    _copy(
        connection,
        "relations",
        (
            (r.id, r.org, r.source, r.target, json.dumps(r.properties), r.weight)
            for r in promised.relations.values()
        ),
    )
    _copy(connection, "deleted", ((key,) for key in promised.deleted))
    _copy(connection, "gone", ((key,) for key in promised.gone))
    _copy(connection, "shared", ((e.id, e.org, json.dumps(e.properties)) for e in promised.shared))
    connection.execute(STATEMENTS.analyze.compose())


def _copy(connection: Connection, journal: str, rows: Iterable[tuple[object, ...]]) -> None:
    statement = STATEMENTS.copy.compose(journal=sql.Identifier(f"journal_{journal}"))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


@dataclass(frozen=True, slots=True)
class _OfEntities:
    """How many expected entities break each property, and the first of them."""

    lost: int
    lost_id: str | None
    changed: int
    changed_id: str | None
    strange: int
    strange_id: str | None


@dataclass(frozen=True, slots=True)
class _OfRelations(_OfEntities):
    """The same of relations; `gone` is how many must be gone with their ends."""

    gone: int
    left_over: int
    left_over_id: str | None
    untold: int
    untold_id: str | None
    told_wrongly: int
    told_wrongly_id: str | None


@dataclass(frozen=True, slots=True)
class _There:
    """How many rows are there that must not be, and the first of them."""

    there: int
    there_id: str | None


@dataclass(frozen=True, slots=True)
class _Totals:
    entities: int
    relations: int


def _compare(
    connection: Connection, promised: _Promised, *, entities: int, relations: int, tenant_column: str | None
) -> Iterator[Check]:
    size = {"entities": entities, "relations": relations, "organisations": sample.ORGANISATIONS}
    tenant: sql.Composable = sql.SQL("e.org")
    same_source: sql.Composable = sql.SQL("true")
    same_target: sql.Composable = sql.SQL("true")
    if tenant_column is not None:
        column = sql.Identifier(tenant_column)
        tenant = sql.SQL("t.{}").format(column)
        same_source = sql.SQL("s.{0} = r.{0}").format(column)
        same_target = sql.SQL("t.{0} = r.{0}").format(column)
    own = _row(connection, _OfEntities, STATEMENTS.entities.compose(tenant=tenant), size)
    shared = _row(connection, _OfEntities, STATEMENTS.shared.compose(tenant=tenant))
    deleted = _row(connection, _There, STATEMENTS.deleted.compose())
    related = _row(connection, _OfRelations, STATEMENTS.relations.compose(tenant=tenant), size)
    orphans = _row(
        connection, _There, STATEMENTS.orphans.compose(same_source=same_source, same_target=same_target)
    )
    totals = _row(connection, _Totals, STATEMENTS.totals.compose())

    written = {key for key in (*promised.entities, *promised.deleted) if not sample.is_entity_key(key)}
    shared_ids = {entry.id for entry in promised.shared}
    entities_wanted = entities + len(written) - len(promised.deleted) + len(shared_ids)
    relations_wanted = relations + len(promised.relations) - related.gone
    entities_surplus = totals.entities - (entities_wanted - own.lost - shared.lost + deleted.there)
    relations_surplus = totals.relations - (relations_wanted - related.lost + related.left_over)

    yield _none("entities there", own.lost, own.lost_id, f"{entities_wanted - len(shared_ids):,} entities")
    yield _none(
        "entity values", own.changed, own.changed_id, f"{len(promised.entities):,} entities written to"
    )
    yield _none(
        "shared entities",
        shared.lost + shared.changed,
        shared.lost_id or shared.changed_id,
        f"{len(shared_ids):,} entities upserted by several connections",
    )
    yield _none("deletes", deleted.there, deleted.there_id, f"{len(promised.deleted):,} entities deleted")
    yield _none("relations there", related.lost, related.lost_id, f"{relations_wanted:,} relations")
    yield _none(
        "relation values",
        related.changed,
        related.changed_id,
        f"{len(promised.relations):,} relations inserted",
    )
    yield _none(
        "cascades", related.left_over, related.left_over_id, f"{related.gone:,} relations gone with an end"
    )
    # A delete whose answer was lost could not tell what went with it.
    untold, untold_id = (0, None) if promised.gone_unknown else (related.untold, related.untold_id)
    yield _none(
        "cascades told",
        untold + related.told_wrongly,
        untold_id or related.told_wrongly_id,
        f"{len(promised.gone):,} relations named by the deletes",
    )
    yield _none("orphans", orphans.there, orphans.there_id, f"{totals.relations:,} relations with both ends")
    yield Check(
        "totals",
        entities_surplus == 0 and relations_surplus == 0,
        f"{totals.entities:,} entities, {totals.relations:,} relations; "
        f"of them {entities_surplus:,} and {relations_surplus:,} that nobody wrote",
    )
    if tenant_column is not None:
        yield _none(
            "tenants",
            own.strange + shared.strange + related.strange,
            own.strange_id or shared.strange_id or related.strange_id,
            f"{totals.entities + totals.relations:,} rows under their organisation",
        )


def _none(name: str, broken: int, first: str | None, among: str) -> Check:
    """A check that holds where no row breaks it."""
    return Check(name, broken == 0, f"{broken:,} broken, the first {first}; {among}" if broken else among)


def _row(
    connection: Connection,
    kind: type[_Kind],
    statement: sql.Composed,
    parameters: dict[str, int] | None = None,
) -> _Kind:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        (row,) = cursor.execute(statement, parameters).fetchall()
    return row
