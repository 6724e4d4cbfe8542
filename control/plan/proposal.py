"""Proposes a plan from the database it reads: what `tenantry init` writes for an operator to edit.

A table's tenant is proposed from what its rows say: a column such as `org_id`, else such a key in a json
column. A table that says nothing takes the tenant of a table that it points to by a foreign key; what is
left over belongs to one constant tenant. What is unique stays so in all tenants together, and is offered to
be so within each. The names of what is added are the guide's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from psycopg import errors
from pydantic import SecretStr

from control import names
from control.keys import unique
from control.plan.model import Database, Index, Plan, RowSecurity, Table, Tenant
from control.plan.writing import toml
from sql.errors import GivenWrongError
from sql.postgres import catalog, facts, proposal
from sql.postgres.connection import Connection, describe
from sql.postgres.facts import Catalog, ForeignKey
from sql.tenant_source import Constant, Expression, Parent, Source

#: Columns and json keys that name a tenant, the likeliest first.
TENANT_NAMES = (
    *("tenant_id", "tenant", "org_id", "organisation_id", "organization_id", "organisation", "organization"),
    *("org", "workspace_id", "account_id"),
)

#: What the tenant column is called, where nothing of another type has the name already.
_COLUMN_NAMES = ("tenant_id", "tenant", "tenant_key", "tenantry_tenant")
_TEXT = ("text", "character varying")

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
    tenants: dict[str, Source] = field(default_factory=dict)
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
    proposed = _Proposal(_column(live))
    for table in found:
        if reason := _unfit(table, live):
            proposed.left_out[table.plan_name] = reason
    for directory in _directories(live):
        proposed.left_out.setdefault(directory, "looks like the list of tenants itself")
    chosen = [name for name in live.tables if name not in proposed.left_out]
    if not chosen:
        raise GivenWrongError(
            f"{describe(connection.info.dsn)}: no table in the search path that a plan could be about; "
            "name a database that has one"
        )
    for table_name in chosen:
        _note_its_kind(live.tables[table_name], table_name, proposed)
        _ask_its_rows(connection, live, table_name, proposed)
    _ask_its_parents(live, chosen, proposed)
    taken = {index.name for table in live.tables.values() for index in table.indexes}
    plan = Plan(
        name=name,
        database=Database(url=SecretStr(url)),
        tenant=Tenant(column=proposed.column),
        tables=tuple(_table(live, table_name, proposed, taken) for table_name in chosen),
    )
    offers = {
        table_name: [index.name for index in unique.candidates(live.tables[table_name], proposed.column)]
        for table_name in chosen
    }
    return toml(plan, head=list(_head(connection, proposed)), notes=proposed.notes, offers=offers)


def _column(live: Catalog) -> str:
    def fits(name: str) -> bool:
        columns = (table.column(name) for table in live.tables.values())
        return all(column is None or column.type.startswith(_TEXT) for column in columns)

    return next(filter(fits, _COLUMN_NAMES), _COLUMN_NAMES[-1])


def _unfit(table: proposal.Found, live: Catalog) -> str | None:
    if not table.visible:
        return "is outside the search path"
    there = live.tables.get(table.plan_name)
    if there is None:
        return "went away while it was read"
    return "has parents or children by INHERITS" if there.inherits else None


def _directories(live: Catalog) -> Iterator[str]:
    """Find the tables that a tenant-naming column points to: `organisations`, behind `org_id`."""
    called = {(table.schema_, table.name): name for name, table in live.tables.items()}
    for table in live.tables.values():
        for key in table.foreign_keys:
            target = called.get((key.target_schema, key.target))
            if len(key.columns) == 1 and key.columns[0] in TENANT_NAMES and target is not None:
                yield target


def _note_its_kind(table: facts.Table, name: str, proposed: _Proposal) -> None:
    if table.kind == "p":
        proposed.note(
            name, "is partitioned: column and backfill are proposed; indexes and primary_key may be added"
        )
    elif table.primary_key is None:
        proposed.note(name, "has no primary key, and gets none")


def _ask_its_rows(connection: Connection, live: Catalog, name: str, proposed: _Proposal) -> None:
    table = live.tables[name]
    if table.column(proposed.column) is not None:
        proposed.tenants[name] = Constant(constant=Tenant().legacy)
        proposed.note(name, f"has {proposed.column} already: only rows that hold '' there get this tenant")
        return
    try:
        known = _known(connection, live, name)
    except errors.InsufficientPrivilege:
        proposed.note(name, "its rows can't be read by this user, so they were not asked whose they are")
        return
    if known is None:
        return
    proposed.tenants[name] = Expression(expression=known.expression)
    if known.known < known.rows:
        proposed.note(
            name,
            f"{known.rows - known.known:,} of the first {known.rows:,} rows have no {known.expression}: "
            'say whose they are with otherwise = "…", or they are set aside',
        )


def _known(connection: Connection, live: Catalog, name: str) -> proposal.Known | None:
    table = live.tables[name]
    for column in TENANT_NAMES:
        if table.column(column) is not None:
            return proposal.known_in_column(connection, table.identifier, column)
    for document in table.columns:
        if document.type in {"json", "jsonb"}:
            known = proposal.known_in_json(connection, table.identifier, document.name, TENANT_NAMES)
            if known is not None:
                return known
    return None


def _ask_its_parents(live: Catalog, chosen: list[str], proposed: _Proposal) -> None:
    """Give each table that says nothing the tenant of one it points to, nearest first: so no cycle arises."""
    called = {(live.tables[name].schema_, live.tables[name].name): name for name in chosen}
    spoken = {name for name in chosen if name in proposed.tenants}
    waiting = [name for name in chosen if name not in proposed.tenants]
    while True:
        heirs: dict[str, Parent] = {}
        for name in waiting:
            for key in _nearest_first(live.tables[name]):
                parent = called.get((key.target_schema, key.target))
                if parent is not None and parent in spoken:
                    on = dict(zip(key.columns, key.target_columns, strict=True))
                    heirs[name] = Parent(parent=parent, on=on)
                    break
        if not heirs:
            break
        proposed.tenants |= heirs
        spoken |= heirs.keys()
        waiting = [name for name in waiting if name not in heirs]
    for name in waiting:
        proposed.tenants[name] = Constant(constant=Tenant().legacy)


def _nearest_first(table: facts.Table) -> list[ForeignKey]:
    """Sort a table's foreign keys: those that every row has first, then as the columns stand in the table."""
    places = {column.name: (not column.not_null, at) for at, column in enumerate(table.columns)}
    return sorted(table.foreign_keys, key=lambda key: (max(places[name] for name in key.columns), key.name))


def _table(live: Catalog, name: str, proposed: _Proposal, taken: set[str]) -> Table:
    table = live.tables[name]
    if table.kind == "p":
        return Table(name=name, tenant=proposed.tenants[name])
    short = table.name.removeprefix(_PREFIX)
    columns = {"": (proposed.column,)} | {
        f"_{word}": (proposed.column, column)
        for word, column in _GUIDES_INDEXES.get(table.name, {}).items()
        if table.column(column) is not None
    }
    key = table.primary_key
    keyed = key is not None and proposed.column not in key.columns
    return Table(
        name=name,
        tenant=proposed.tenants[name],
        indexes=tuple(
            Index(name=_free(f"idx_{short}_tenant{word}", taken), columns=indexed)
            for word, indexed in columns.items()
        ),
        primary_key=(*key.columns, proposed.column) if key is not None and keyed else None,
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
