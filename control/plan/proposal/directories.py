"""Which tables are lists of tenants, and what a tenant is called there.

`organisations`, behind `org_id`, is such a list: it says who the tenants are, and belongs to none of them. So
does `org_tenants (org_id, tenant)`, that nothing points to. By default a tenant is called what rows already
hold: `org_id`. It costs no look into another table, and no change elsewhere can change it; a slug that is
renamed would take all rows of its tenant along, in the transaction that renames it. Only where the list has a
column that says `tenant`, or other tables call tenants as its slugs do, is a tenant called that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from control.plan.model import Tenant
from control.plan.proposal.reading import NotReadError, Reader
from sql.postgres import proposal
from sql.postgres.facts import Catalog, ForeignKey, Table

#: Columns and json keys that name a tenant, the likeliest first.
TENANT_NAMES = (
    *("tenant_id", "tenant", "org_id", "organisation_id", "organization_id", "organisation", "organization"),
    *("org", "workspace_id", "account_id"),
)
#: Columns by which a list calls its tenants for people, the likeliest first.
_SLUGS = ("slug", "code", "key", "handle", "subdomain", "short_name", "name")
_TEXT = ("text", "character varying")
#: A list without anything that points to it has a key, a name, and since when.
_MOST_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Directory:
    """A list of tenants: rows name one by its `key`, and it is called what its column `called` says.

    `called` is the key itself unless the list or other tables say otherwise: `why`. `offered` is another
    column that could.
    """

    table: str
    key: str
    called: str
    why: str = ""
    offered: str | None = None


def is_text(column_type: str) -> bool:
    """Whether a column's type is one that a tenant column may have."""
    return column_type.startswith(_TEXT)


def names(table: Table) -> list[str]:
    """List the columns of a table that name a tenant, the likeliest first."""
    return [name for name in TENANT_NAMES if table.column(name) is not None]


def targets(live: Catalog) -> dict[tuple[str, str], str]:
    """Tell by (schema, name) what the plan calls a table."""
    return {(table.schema_, table.name): name for name, table in live.tables.items()}


def key_onto(table: Table, column: str) -> ForeignKey | None:
    """Find the foreign key of a table that is this column alone."""
    return next((key for key in table.foreign_keys if key.columns == (column,)), None)


def unique_alone(table: Table) -> list[str]:
    """List the columns that are unique by themselves, in all rows."""
    return [
        index.columns[0]
        for index in table.indexes
        if index.unique and index.valid and index.btree_columns and len(index.columns) == 1
    ]


def find(live: Catalog) -> dict[str, str]:
    """Find the lists of tenants, each with the column that rows name its tenants by.

    Not one that belongs to another by a likelier name: `accounts.org_id` makes accounts an organisation's.
    """
    called = targets(live)
    found: dict[str, tuple[int, str]] = {}
    for table in live.tables.values():
        for column in names(table):
            key = key_onto(table, column)
            target = called.get((key.target_schema, key.target)) if key is not None else None
            if key is None or target is None or live.tables[target] is table:
                continue
            rank = TENANT_NAMES.index(column)
            if target not in found or rank < found[target][0]:
                found[target] = (rank, key.target_columns[0])
    kept = {name: key for name, (rank, key) in found.items() if not _belongs(live, name, rank, found)}
    for name, table in live.tables.items():
        if name not in found and (alone := _translates(table)) is not None:
            kept[name] = alone
    return kept


def _belongs(live: Catalog, name: str, rank: int, found: dict[str, tuple[int, str]]) -> bool:
    table, called = live.tables[name], targets(live)
    for column in names(table):
        key = key_onto(table, column)
        if key is not None and TENANT_NAMES.index(column) < rank:
            other = called.get((key.target_schema, key.target))
            if other != name and other in found:
                return True
    return False


def _translates(table: Table) -> str | None:
    """The key of a table that says for each `org_id` what tenant it is, and hardly anything more."""
    if len(table.columns) > _MOST_COLUMNS:
        return None
    for column in unique_alone(table):
        if column not in names(table) or key_onto(table, column) is not None:
            continue
        others = [table.column(name) for name in names(table) if name != column]
        if any(other is not None and is_text(other.type) for other in others):
            return column
    return None


def describe(reader: Reader, live: Catalog, found: dict[str, str]) -> dict[str, Directory]:
    """Tell of each list what its tenants are called."""
    return {name: _described(reader, live, name, key) for name, key in found.items()}


def _described(reader: Reader, live: Catalog, name: str, key: str) -> Directory:
    table = live.tables[name]
    for column in _texts(table, (*names(table), *_SLUGS)):
        if column == key:
            continue
        try:
            proper, unique = _asked(reader, table, column)
        except NotReadError:
            continue
        if proper and column in TENANT_NAMES:
            return Directory(name, key, column, f"{name}.{column} says what a tenant is called", key)
        if proper and unique:
            return _as_others_call(reader, live, name, Directory(name, key, key, offered=column))
    return Directory(name, key, key)


def _asked(reader: Reader, table: Table, column: str) -> tuple[bool, bool]:
    rows, pattern = reader.rows(table), Tenant().pattern
    return reader.ask(lambda: proposal.called(reader.connection, rows, column, pattern))


def _texts(table: Table, wanted: tuple[str, ...]) -> Iterator[str]:
    for name in wanted:
        column = table.column(name)
        if column is not None and is_text(column.type):
            yield name


def _as_others_call(reader: Reader, live: Catalog, name: str, found: Directory) -> Directory:
    """Take the slug where a table holds that itself: one tenant can't have two names."""
    there, slug = live.tables[name], found.offered or found.key
    for other, table in live.tables.items():
        for column in _texts(table, tuple(names(table))):
            if other == name or key_onto(table, column) is not None:
                continue
            try:
                values, among = _shared(reader, table, column, there, slug)
            except NotReadError:
                continue
            if values and among * 2 >= values:
                why = f"{other}.{column} calls tenants as {name}.{slug} does"
                return Directory(name, found.key, slug, why, found.key)
    return found


def _shared(reader: Reader, table: Table, column: str, other: Table, key: str) -> tuple[int, int]:
    rows = reader.rows(table)
    return reader.ask(lambda: proposal.found_there(reader.connection, rows, column, other.identifier, key))
