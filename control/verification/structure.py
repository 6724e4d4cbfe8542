"""What the catalog must say at the end: keys, foreign keys and indexes."""

from control import guard
from control.indexes import Wanted
from control.keys import unique
from control.plan.model import Plan
from control.verification.check import Check, Subject, listed
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog, ForeignKey, Index

#: A key that foreign keys point to: schema, table, and columns in any order.
_Key = tuple[str, str, frozenset[str]]


def primary_key(subject: Subject) -> Check:
    """The key of the plan is the primary key, and its index is whole."""
    planned, found = subject.table.primary_key, subject.found.primary_key
    name = f"{subject.name}: primary key"
    if planned is None:
        return Check(name, None, "the plan leaves the key as it is", "catalog.tables")
    if found is None:
        return Check(name, ok=False, evidence="there is no primary key", query="catalog.tables")
    index = subject.found.index(found.index or "")
    whole = index is not None and _whole(index)
    evidence = f"({', '.join(found.columns)}), its index {found.index} {'valid' if whole else 'invalid'}"
    return Check(name, found.columns == planned and whole, evidence, "catalog.tables")


def foreign_keys(subject: Subject, original: Catalog) -> Check:
    """Each foreign key of before is there, validated, and holds the tenant where its target's key does."""
    composite = _with_tenant_in_key(subject.plan, original)
    faults: list[str] = []
    for before in subject.original.foreign_keys:
        now = subject.found.foreign_key(before.name)
        if now is None:
            faults.append(f"{before.name} is gone")
        elif _target(before) in composite and not _within_tenant(now, subject.column):
            faults.append(f"{before.name} doesn't hold {subject.column}: {now.definition}")
    faults += [f"{key.name} isn't validated" for key in subject.found.foreign_keys if not key.validated]
    name = f"{subject.name}: foreign keys"
    if not subject.original.foreign_keys and not faults:
        return Check(name, None, "it has none", "catalog.foreign_keys")
    there = ", ".join(key.name for key in subject.found.foreign_keys)
    return Check(name, not faults, listed(faults) or f"{there} validated", "catalog.foreign_keys")


def _with_tenant_in_key(plan: Plan, original: Catalog) -> set[_Key]:
    """The keys, as they were, that the plan takes the tenant into."""
    found: set[_Key] = set()
    for table in plan.tables:
        was = original.table(table.name)
        if table.primary_key is not None and was.primary_key is not None:
            found.add((was.schema_, was.name, frozenset(was.primary_key.columns)))
        for old, _ in unique.pairs_of(plan, table, was):
            found.add((was.schema_, was.name, frozenset(old.index.columns)))
    return found


def _target(key: ForeignKey) -> _Key:
    return (key.target_schema, key.target, frozenset(key.target_columns))


def _within_tenant(key: ForeignKey, column: str) -> bool:
    return (column, column) in zip(key.columns, key.target_columns, strict=True)


def indexes(subject: Subject) -> Check:
    """The indexes of the plan are there, and no index of the table is invalid."""
    faults: list[str] = []
    there: list[str] = []
    for planned in subject.table.indexes:
        wanted = Wanted(subject.table.name, subject.original, planned.name, planned.columns)
        serving, named = wanted.in_place(subject.found), subject.found.index(planned.name)
        if serving is not None:
            there.append(
                planned.name if serving.name == planned.name else f"{serving.name} as {planned.name}"
            )
        elif named is None:
            faults.append(f"{planned.name} isn't there, nor one like it")
        elif not wanted.is_like(named):
            faults.append(f"{planned.name} is another index: {named.definition}")
    faults += [f"{index.name} is invalid" for index in subject.found.indexes if not _whole(index)]
    evidence = f"{', '.join(there) or 'none planned'}; all valid"
    return Check(
        f"{subject.name}: indexes there and valid", not faults, listed(faults) or evidence, "catalog.tables"
    )


def unique_within_tenants(subject: Subject) -> Check:
    """What the plan names in `unique` has the tenant in it, and is otherwise what it was."""
    faults: list[str] = []
    there: list[str] = []
    for _, new in unique.pairs_of(subject.plan, subject.table, subject.original):
        named = subject.found.index(new.name)
        if named is None:
            faults.append(f"{new.name} is gone")
        elif not new.is_like(named):
            faults.append(f"{new.name} isn't what it was with {subject.column}: {named.definition}")
        else:
            there.append(f"{new.name} ({', '.join(named.columns)})")
    name = f"{subject.name}: unique within each tenant"
    return Check(name, not faults, listed(faults) or ", ".join(there), "catalog.tables")


def write_guard(connection: Connection, plan: Plan, original: Catalog) -> Check:
    """Whether the guard for old code is gone; one that stays is told, with what needed it."""
    name = "write guard"
    uses = guard.uses(connection, plan, original)
    if not uses:
        return Check(
            name, None, "gone, or never needed: code that knows no tenant can't insert", "guard.uses"
        )
    needed = ", ".join(f"{table} {count} times" for table, count in uses.items())
    return Check(name, None, f"still there; it was needed for {needed}", "guard.uses")


def _whole(index: Index) -> bool:
    return index.valid and index.ready
