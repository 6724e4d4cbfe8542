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
from control.plan.model import Plan
from control.plan.proposal import directories, doubts, schema
from control.plan.proposal.choosing import Choice, choose
from control.plan.proposal.file import FileReader
from control.plan.proposal.links import Links
from control.plan.proposal.reading import Reader
from control.plan.proposal.schema import Schema
from control.plan.proposal.server import ServerReader
from control.plan.sections import Database, Index, RowSecurity, Table, Tenant
from control.plan.writing import toml
from sql import database
from sql.errors import GivenWrongError
from sql.sqlite.connection import File
from sql.tenant_source import Constant, TenantSource

#: What the tenant column is called, where nothing of another type has the name already.
_COLUMN_NAMES = ("tenant_id", "tenant", "tenant_key", "tenantry_tenant")

#: The guide's tables are called `graph_…`, and what it adds to them is called without it.
_PREFIX = "graph_"

#: Columns that the guide indexes behind the tenant, with the word that names the index.
_GUIDES_INDEXES = {
    "entities": {"type": "entity_type"},
    "relations": {"source": "source_id", "target": "target_id"},
}


@dataclass(slots=True)
class _Proposal:
    """The plan as it grows; `notes` are told to the operator above the table they name."""

    column: str
    notes: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def note(self, table: str, note: str) -> None:
        self.notes.setdefault(table, []).append(note)


def propose(connection: database.Database, *, url: str, name: str = "multi-tenancy") -> str:
    """Propose a plan for the database of `connection`, as TOML; `url` is written into it as it is.

    Raises:
        GivenWrongError: no table that a plan could be about.
    """
    reader: Reader = FileReader(connection) if isinstance(connection, File) else ServerReader(connection)
    live = reader.schema
    lists = directories.find(live)
    proposed = _Proposal(_column(live, lists), left_out=dict(reader.unfit))
    for listed in lists:
        proposed.left_out.setdefault(listed, "looks like the list of tenants itself")
    choice = _chosen(reader, lists, proposed)
    for shared, pointing in choice.shared.items():
        proposed.left_out[shared] = (
            f"says nothing of tenants, and {pointing} points to it: all share it as it is; "
            "if they don't, say whose its rows are and take it in"
        )
    taken = set(reader.taken)
    plan = Plan(
        name=name,
        database=Database(url=SecretStr(url)),
        tenant=Tenant(column=proposed.column, sentinel=reader.sentinel),
        tables=tuple(
            _table(reader, live[table_name], source, proposed.column, taken)
            for table_name, source in choice.sources.items()
        ),
    )
    for table_name, note in doubts.look(reader, plan):
        proposed.note(table_name, note)
    offers = {
        table_name: [one for one, columns in live[table_name].uniques if proposed.column not in columns]
        for table_name in choice.sources
    }
    return toml(
        plan,
        head=list(_head(reader, proposed)),
        notes=proposed.notes,
        offers=offers,
        others=choice.others,
    )


def _chosen(reader: Reader, lists: dict[str, str], proposed: _Proposal) -> Choice:
    """The sources of all tables that are not left out, in the catalog's order."""
    live = reader.schema
    names = [name for name in live if name not in proposed.left_out]
    if not names:
        raise GivenWrongError(
            f"{reader.database}: no table {reader.where} that a plan could be "
            "about; name a database that has one"
        )
    given: dict[str, TenantSource] = {}
    for name in names:
        if live[name].note:
            proposed.note(name, live[name].note)
        if live[name].column(proposed.column) is not None:
            given[name] = Constant(constant=Tenant().legacy)
            proposed.note(
                name, f"has {proposed.column} already: only rows that hold none there get this tenant"
            )
    links = Links(reader, names, directories.describe(reader, lists))
    choice = choose(links, names, given)
    choice.sources = {name: choice.sources[name] for name in names if name in choice.sources}
    for name, notes in links.told.items():
        for note in notes:
            proposed.note(name, note)
    return choice


def _column(live: Schema, lists: Container[str]) -> str:
    def fits(name: str) -> bool:
        columns = (table.column(name) for listed, table in live.items() if listed not in lists)
        return all(column is None or column.is_text for column in columns)

    return next(filter(fits, _COLUMN_NAMES), _COLUMN_NAMES[-1])


def _table(reader: Reader, table: schema.Table, source: TenantSource, tenant: str, taken: set[str]) -> Table:
    if not table.builds:
        return Table(name=table.name, tenant=source)
    short = table.bare.removeprefix(_PREFIX)
    columns = {"": (tenant,)} | {
        f"_{word}": (tenant, column)
        for word, column in _GUIDES_INDEXES.get(short, {}).items()
        if table.column(column) is not None
    }
    key = table.primary_key
    return Table(
        name=table.name,
        tenant=source,
        indexes=tuple(
            Index(name=_free(f"idx_{short}_tenant{word}", taken), columns=indexed)
            for word, indexed in columns.items()
        ),
        primary_key=(*key, tenant) if key is not None and tenant not in key else None,
        rls=RowSecurity(policy=names.fitting(f"tenant_isolation_{short}"))
        if reader.has_row_security
        else None,
    )


def _free(wanted: str, taken: set[str]) -> str:
    """Find a name that is not taken yet, as near to the one that is wanted as can be; takes it."""
    numbered = (names.fitting(wanted if number == 1 else f"{wanted}_{number}") for number in count(1))
    free = next(name for name in numbered if name not in taken)
    taken.add(free)
    return free


def _head(reader: Reader, proposed: _Proposal) -> Iterator[str]:
    yield f"Proposed by `tenantry init` from {reader.database}."
    yield "Look it over, then let `tenantry check` look at the database."
    for name, reason in proposed.left_out.items():
        yield f"left out: {name} {reason}"
