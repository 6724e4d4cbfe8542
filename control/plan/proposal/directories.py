"""Which tables are lists of tenants, and what a tenant is called there.

`organisations`, behind `org_id`, is such a list: it says who the tenants are, and belongs to none of them. So
does `org_tenants (org_id, tenant)`, that nothing points to. By default a tenant is called what rows already
hold: `org_id`. It costs no look into another table, and no change elsewhere can change it; a slug that is
renamed would take all rows of its tenant along, in the transaction that renames it. Only where the list has a
column that says `tenant`, or other tables call tenants as its slugs do, is a tenant called that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from control.plan.proposal.reading import NotReadError, Reader
from control.plan.proposal.schema import Schema, Table
from control.plan.sections import Tenant

#: Columns and json keys that name a tenant, the likeliest first.
TENANT_NAMES = (
    *("tenant_id", "tenant", "org_id", "organisation_id", "organization_id", "organisation", "organization"),
    *("org", "workspace_id", "account_id"),
)
#: Columns by which a list calls its tenants for people, the likeliest first.
_SLUGS = ("slug", "code", "key", "handle", "subdomain", "short_name", "name")
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


def names(table: Table) -> list[str]:
    """List the columns of a table that name a tenant, the likeliest first."""
    return [name for name in TENANT_NAMES if table.column(name) is not None]


def find(live: Schema) -> dict[str, str]:
    """Find the lists of tenants, each with the column that rows name its tenants by.

    Not one that belongs to another by a likelier name: `accounts.org_id` makes accounts an organisation's.
    """
    found: dict[str, tuple[int, str]] = {}
    for table in live.values():
        for column in names(table):
            key = table.key_onto(column)
            if key is None or key.target is None or key.target == table.name:
                continue
            rank = TENANT_NAMES.index(column)
            if key.target not in found or rank < found[key.target][0]:
                found[key.target] = (rank, key.target_columns[0])
    kept = {name: key for name, (rank, key) in found.items() if not _belongs(live[name], rank, found)}
    for name, table in live.items():
        if name not in found and (alone := _translates(table)) is not None:
            kept[name] = alone
    return kept


def _belongs(table: Table, rank: int, found: dict[str, tuple[int, str]]) -> bool:
    for column in names(table):
        key = table.key_onto(column)
        likelier = key is not None and TENANT_NAMES.index(column) < rank
        if likelier and key is not None and key.target != table.name and key.target in found:
            return True
    return False


def _translates(table: Table) -> str | None:
    """The key of a table that says for each `org_id` what tenant it is, and hardly anything more."""
    if len(table.columns) > _MOST_COLUMNS:
        return None
    for column in table.alone:
        if column not in names(table) or table.key_onto(column) is not None:
            continue
        others = [table.column(name) for name in names(table) if name != column]
        if any(other is not None and other.is_text for other in others):
            return column
    return None


def describe(reader: Reader, found: dict[str, str]) -> dict[str, Directory]:
    """Tell of each list what its tenants are called."""
    return {name: _described(reader, name, key) for name, key in found.items()}


def _described(reader: Reader, name: str, key: str) -> Directory:
    table = reader.schema[name]
    for column in _texts(table, (*names(table), *_SLUGS)):
        if column == key:
            continue
        try:
            proper, unique = reader.called(name, column, Tenant().pattern)
        except NotReadError:
            continue
        if proper and column in TENANT_NAMES:
            return Directory(name, key, column, f"{name}.{column} says what a tenant is called", key)
        if proper and unique:
            return _as_others_call(reader, name, Directory(name, key, key, offered=column))
    return Directory(name, key, key)


def _texts(table: Table, wanted: tuple[str, ...]) -> Iterator[str]:
    for name in wanted:
        column = table.column(name)
        if column is not None and column.is_text:
            yield name


def _as_others_call(reader: Reader, name: str, found: Directory) -> Directory:
    """Take the slug where a table holds that itself: one tenant can't have two names."""
    slug = found.offered or found.key
    for other, table in reader.schema.items():
        for column in _texts(table, tuple(names(table))):
            if other == name or table.key_onto(column) is not None:
                continue
            try:
                values, among = reader.found_there(other, column, name, slug)
            except NotReadError:
                continue
            if values and among * 2 >= values:
                why = f"{other}.{column} calls tenants as {name}.{slug} does"
                return Directory(name, found.key, slug, why, found.key)
    return found
