"""Checks the final tables against what the database acknowledged to the demo's application.

Every row is accounted for: those that the application wrote by its journal, the others by the sample's
formulas.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from control.demo import sample
from control.demo.entries import read
from control.demo.journal_on_file import FileTables
from control.demo.journal_on_server import ServerTables
from control.demo.promised import Promised, promised_by
from sql.database import Database
from sql.sqlite.connection import File

_Kind = TypeVar("_Kind")


class Tables(Protocol):
    """The tables of a sample, with what was promised beside them."""

    def beside(self, promised: Promised) -> AbstractContextManager[None]:
        """Bring what was promised, for as long as the context lasts; what is asked in it is one snapshot."""

    def row(self, statement: str, parameters: Mapping[str, int]) -> dict[str, Any]:
        """The only row of a statement of `journal.sql`."""


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


def check(
    connection: Database,
    folder: Path,
    *,
    entities: int,
    relations: int | None = None,
    tenant_column: str | None,
) -> JournalResult:
    """Compare the tables with the journals in `folder`, once the application has stopped.

    Args:
        connection: to either database, in autocommit, and not filtered by row-level security.
        folder: the application's.
        entities: as the sample was filled.
        relations: as the sample was filled.
        tenant_column: None before the migration, and after a rollback.

    Raises:
        GivenWrongError: there is no journal, or one that can't be read.
    """
    relations = sample.relations_of(entities, relations)
    journals = read(folder)
    promised = promised_by(journals)
    tables: Tables = (
        FileTables(connection, tenant_column)
        if isinstance(connection, File)
        else ServerTables(connection, tenant_column)
    )
    with tables.beside(promised):
        checks = tuple(
            _compare(
                tables,
                promised,
                entities=entities,
                relations=relations,
                with_tenants=tenant_column is not None,
            )
        )
    complete = Check(
        "journal complete",
        promised.unended == 0,
        f"{len(journals) - promised.unended} of {len(journals)} connections ended in good order, "
        f"{promised.acknowledged:,} writes acknowledged",
    )
    return JournalResult(promised.acknowledged, (complete, *checks))


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
    tables: Tables, promised: Promised, *, entities: int, relations: int, with_tenants: bool
) -> Iterator[Check]:
    size = {"entities": entities, "relations": relations, "organisations": sample.ORGANISATIONS}

    def ask(kind: type[_Kind], statement: str, parameters: Mapping[str, int] | None = None) -> _Kind:
        return kind(**tables.row(statement, parameters or {}))

    own = ask(_OfEntities, "entities", size)
    shared = ask(_OfEntities, "shared")
    deleted = ask(_There, "deleted")
    related = ask(_OfRelations, "relations", size)
    orphans = ask(_There, "orphans")
    totals = ask(_Totals, "totals")

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
    if with_tenants:
        yield _none(
            "tenants",
            own.strange + shared.strange + related.strange,
            own.strange_id or shared.strange_id or related.strange_id,
            f"{totals.entities + totals.relations:,} rows under their organisation",
        )


def _none(name: str, broken: int, first: str | None, among: str) -> Check:
    """A check that holds where no row breaks it."""
    return Check(name, broken == 0, f"{broken:,} broken, the first {first}; {among}" if broken else among)
