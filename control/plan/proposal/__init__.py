"""Proposes a plan from the database it reads: what `tenantry init` writes for an operator to edit.

A table's tenant is proposed from what its rows say (a column such as `org_id`, or such a key in a json
column), from a list of tenants that they point to, or from other tables of the plan; what is left over is one
constant tenant's. Above each table stands what is left to decide. What is unique stays so in all tenants
together, and is offered to be so within each. The names of what is added are the guide's.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from itertools import count

from pydantic import SecretStr

from control import names
from control.keys import unique
from control.plan.model import Database, Index, Plan, RowSecurity, Table, Tenant
from control.plan.proposal import directories, doubts
from control.plan.proposal.choosing import Choice, choose
from control.plan.proposal.links import Links
from control.plan.proposal.reading import Reader
from control.plan.writing import toml
from sql.errors import GivenWrongError
from sql.postgres import catalog, facts, proposal
from sql.postgres.connection import Connection, describe
from sql.postgres.facts import Catalog
from sql.tenant_source import Constant, TenantSource

#: What the tenant column is called, where nothing of another type has the name already.
_COLUMN_NAMES = ("tenant_id", "tenant", "tenant_key", "tenantry_tenant")

#: The guide's tables are called `graph_…`, and what it adds to them is called without it.
_PREFIX = "graph_"

#: Columns that the guide indexes behind the tenant, with the word that names the index.
_GUIDES_INDEXES = {
    "graph_entities": {"type": "entity_type"},
    "graph_relations": {"source": "source_id", "target": "target_id"},
}


@dataclass(slots=True)
class _Proposal:
    """The plan as it grows; `notes` are told to the operator above the table they name."""

    column: str
    notes: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def note(self, table: str, note: str) -> None:
        self.notes.setdefault(table, []).append(note)


def propose(connection: Connection, *, url: str, name: str = "multi-tenancy") -> str:
    """Propose a plan for the database of `connection`, as TOML; `url` is written into it as it is.

    Raises:
        GivenWrongError: no table that a plan could be about.
    """
    found = proposal.tables(connection)
    live = catalog.read(connection, [table.plan_name for table in found])
    reader, lists = Reader(connection), directories.find(live)
    proposed = _Proposal(_column(live, lists))
    for table in found:
        if reason := _unfit(table, live):
            proposed.left_out[table.plan_name] = reason
    for listed in lists:
        proposed.left_out.setdefault(listed, "looks like the list of tenants itself")
    choice = _chosen(reader, live, lists, proposed)
    for shared, pointing in choice.shared.items():
        proposed.left_out[shared] = (
            f"says nothing of tenants, and {pointing} points to it: all share it as it is; "
            "if they don't, say whose its rows are and take it in"
        )
    taken = {index.name for table in live.tables.values() for index in table.indexes}
    plan = Plan(
        name=name,
        database=Database(url=SecretStr(url)),
        tenant=Tenant(column=proposed.column),
        tables=tuple(
            _table(live.tables[table_name], table_name, source, proposed.column, taken)
            for table_name, source in choice.sources.items()
        ),
    )
    planned = live.model_copy(update={"tables": {name: live.tables[name] for name in choice.sources}})
    for table_name, note in doubts.look(reader, plan, planned):
        proposed.note(table_name, note)
    offers = {
        table_name: [index.name for index in unique.candidates(live.tables[table_name], proposed.column)]
        for table_name in choice.sources
    }
    return toml(
        plan,
        head=list(_head(connection, proposed)),
        notes=proposed.notes,
        offers=offers,
        others=choice.others,
    )


def _chosen(reader: Reader, live: Catalog, lists: dict[str, str], proposed: _Proposal) -> Choice:
    """The sources of all tables that are not left out, in the catalog's order."""
    names = [name for name in live.tables if name not in proposed.left_out]
    if not names:
        raise GivenWrongError(
            f"{describe(reader.connection.info.dsn)}: no table in the search path that a plan could be "
            "about; name a database that has one"
        )
    given: dict[str, TenantSource] = {}
    for name in names:
        _note_its_kind(live.tables[name], name, proposed)
        if live.tables[name].column(proposed.column) is not None:
            given[name] = Constant(constant=Tenant().legacy)
            proposed.note(
                name, f"has {proposed.column} already: only rows that hold none there get this tenant"
            )
    links = Links(reader, live, names, directories.describe(reader, live, lists))
    choice = choose(links, names, given)
    choice.sources = {name: choice.sources[name] for name in names if name in choice.sources}
    for name, notes in links.told.items():
        for note in notes:
            proposed.note(name, note)
    return choice


def _column(live: Catalog, lists: Container[str]) -> str:
    def fits(name: str) -> bool:
        columns = (table.column(name) for listed, table in live.tables.items() if listed not in lists)
        return all(column is None or directories.is_text(column.type) for column in columns)

    return next(filter(fits, _COLUMN_NAMES), _COLUMN_NAMES[-1])


def _unfit(table: proposal.Found, live: Catalog) -> str | None:
    if not table.visible:
        return "is outside the search path"
    there = live.tables.get(table.plan_name)
    if there is None:
        return "went away while it was read"
    return "has parents or children by INHERITS" if there.inherits else None


def _note_its_kind(table: facts.Table, name: str, proposed: _Proposal) -> None:
    if table.kind == "p":
        proposed.note(
            name, "is partitioned: column and backfill are proposed; indexes and primary_key may be added"
        )
    elif table.primary_key is None:
        proposed.note(name, "has no primary key, and gets none")


def _table(table: facts.Table, name: str, source: TenantSource, tenant: str, taken: set[str]) -> Table:
    if table.kind == "p":
        return Table(name=name, tenant=source)
    short = table.name.removeprefix(_PREFIX)
    columns = {"": (tenant,)} | {
        f"_{word}": (tenant, column)
        for word, column in _GUIDES_INDEXES.get(table.name, {}).items()
        if table.column(column) is not None
    }
    key = table.primary_key
    keyed = key is not None and tenant not in key.columns
    return Table(
        name=name,
        tenant=source,
        indexes=tuple(
            Index(name=_free(f"idx_{short}_tenant{word}", taken), columns=indexed)
            for word, indexed in columns.items()
        ),
        primary_key=(*key.columns, tenant) if key is not None and keyed else None,
        rls=RowSecurity(policy=names.fitting(f"tenant_isolation_{short}")),
    )


def _free(wanted: str, taken: set[str]) -> str:
    """Find a name that is not taken yet, as near to the one that is wanted as can be; takes it."""
    numbered = (names.fitting(wanted if number == 1 else f"{wanted}_{number}") for number in count(1))
    free = next(name for name in numbered if name not in taken)
    taken.add(free)
    return free


def _head(connection: Connection, proposed: _Proposal) -> Iterator[str]:
    yield f"Proposed by `tenantry init` from {describe(connection.info.dsn)}."
    yield "Look it over, then let `tenantry check` look at the database."
    for name, reason in proposed.left_out.items():
        yield f"left out: {name} {reason}"
