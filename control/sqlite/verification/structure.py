"""What the schema must say at the end: keys, foreign keys, indexes, and all else as it was."""

from collections.abc import Iterable, Iterator
from typing import Any

from control.sqlite.verification.rows import Check, Subject
from control.verification import check
from control.verification.check import listed
from sql.sqlite.facts import Catalog, Column, ForeignKey, Table
from sql.sqlite.names import folded


def primary_key(subject: Subject) -> check.Check:
    """The key of the plan; beside an INTEGER PRIMARY KEY, which gives rows their id, the same as UNIQUE."""
    planned, found = subject.table.primary_key, subject.found
    name = f"{subject.name}: primary key"
    if planned is None:
        return Check(name, None, "the plan leaves the key as it is", "catalog.columns")
    if subject.original.rowid_alias is None:
        told = f"({', '.join(found.primary_key)})" if found.primary_key else "there is none"
        return Check(name, _same(found.primary_key, planned), told, "catalog.columns")
    unique = any(one.unique and not one.partial and _same(one.columns, planned) for one in found.indexes)
    kept = found.rowid_alias == subject.original.rowid_alias
    told = f"({', '.join(found.primary_key)}), and ({', '.join(planned)}) {'' if unique else 'not '}unique"
    return Check(name, unique and kept, told, "catalog.indexes")


def foreign_keys(subject: Subject, original: Catalog) -> check.Check:
    """Each foreign key of before is there, does the same, and holds the tenant if both ends' keys do."""
    name, faults = f"{subject.name}: foreign keys", []
    for before in subject.original.foreign_keys:
        shown = f"({', '.join(before.columns)}) to {before.target}"
        now = _now(subject, before)
        if now is None:
            faults.append(f"{shown} is gone")
        elif (now.on_update, now.on_delete) != (before.on_update, before.on_delete):
            faults.append(f"{shown} does another thing: ON UPDATE {now.on_update} ON DELETE {now.on_delete}")
        elif _takes_tenant_in(subject, original, before) and not _has_tenant(now, subject.column):
            faults.append(f"{shown} doesn't hold {subject.column}")
    if not subject.original.foreign_keys:
        return Check(name, None, "it has none", "catalog.foreign_keys")
    there = "; ".join(f"({', '.join(one.columns)}) to {one.target}" for one in subject.found.foreign_keys)
    return Check(name, not faults, listed(faults) or there, "catalog.foreign_keys")


def _now(subject: Subject, before: ForeignKey) -> ForeignKey | None:
    found = (one for one in subject.found.foreign_keys if _continues(before, one, subject.column))
    return next(found, None)


def _takes_tenant_in(subject: Subject, original: Catalog, key: ForeignKey) -> bool:
    planned = next((one for one in subject.plan.tables if folded(one.name) == folded(key.target)), None)
    if planned is None or subject.plan.tenant.cross_tenant == "source":
        return False
    if planned.primary_key is None or subject.table.primary_key is None:
        return False  # the table is as it was: a child without a new key isn't made anew
    target = original.find(key.target)
    return target is not None and set(map(folded, target.primary_key)) == set(map(folded, key.target_columns))


def _continues(before: ForeignKey, now: ForeignKey, column: str) -> bool:
    rest = [one for one in now.columns if folded(one) != folded(column)]
    was = [one for one in before.columns if folded(one) != folded(column)]
    return folded(now.target) == folded(before.target) and _same(rest, was)


def _has_tenant(key: ForeignKey, column: str) -> bool:
    pairs = zip(key.columns, key.target_columns, strict=False)
    return any(folded(ours) == folded(theirs) == folded(column) for ours, theirs in pairs)


def _same(some: Iterable[str | None], others: Iterable[str | None]) -> bool:
    return [folded(one or "") for one in some] == [folded(one or "") for one in others]


def indexes(subject: Subject) -> check.Check:
    """The indexes of the plan are there, with the columns that it names."""
    faults, there = [], []
    for planned in subject.table.indexes:
        found = subject.found.index(planned.name)
        serving = next(
            (one for one in subject.found.indexes if not one.partial and _same(one.columns, planned.columns)),
            None,
        )
        if found is not None and not _same(found.columns, planned.columns):
            faults.append(f"{planned.name} is another index: {found.sql}")
        elif found is not None:
            there.append(planned.name)
        elif serving is not None:
            there.append(f"{serving.name} as {planned.name}")
        else:
            faults.append(f"{planned.name} isn't there, nor one like it")
    told = listed(faults) or ", ".join(there) or "none planned"
    return Check(f"{subject.name}: indexes are there", not faults, told, "catalog.indexes")


def kept(subject: Subject) -> check.Check:
    """Columns, options, indexes and triggers that the migration has no business with are as they were."""
    was, now = subject.original, subject.found
    faults = [
        *(f"{what} was {a} and is {b}" for what, a, b in _options(was, now) if a != b),
        *_columns(subject),
        *(
            f"index {one.name}"
            for one in was.indexes
            if one.sql is not None and one.name not in subject.table.unique
            if (found := now.index(one.name)) is None or found.sql != one.sql
        ),
        *(
            f"trigger {one.name}"
            for one in was.triggers
            if (changed := now.trigger(one.name)) is None or changed.sql != one.sql
        ),
    ]
    told = f"not as before: {listed(faults, 10)}" if faults else "columns, indexes, triggers are as before"
    return Check(f"{subject.name}: all else is as it was", not faults, told, "catalog.objects")


def _options(was: Table, now: Table) -> Iterator[tuple[str, Any, Any]]:
    yield "STRICT", was.strict, now.strict
    yield "WITHOUT ROWID", was.without_rowid, now.without_rowid
    yield "AUTOINCREMENT", was.autoincrement, now.autoincrement


def _columns(subject: Subject) -> Iterator[str]:
    def shown(column: Column) -> tuple[Any, ...]:
        return (column.name, column.type, column.not_null, column.default, column.generated)

    for one in subject.original.columns:
        found = subject.found.column(one.name)
        if found is None:
            yield f"column {one.name} is gone"
        elif shown(found) != shown(one) and folded(one.name) != folded(subject.column):
            yield f"column {one.name}"
    known = {folded(one.name) for one in subject.original.columns} | {folded(subject.column)}
    yield from (f"column {one.name} is new" for one in subject.found.columns if folded(one.name) not in known)


def the_rest(original: Catalog, live: Catalog, planned: Iterable[str]) -> check.Check:
    """Tables that the plan doesn't name, and every view, are as they were, but for what came since."""
    ours = {folded(name) for name in planned}
    faults = [
        f"table {name}"
        for name, table in original.tables.items()
        if folded(name) not in ours
        if (found := live.find(name)) is None or found.sql != table.sql
    ]
    faults += [
        f"view {name}"
        for name, view in original.views.items()
        if name not in live.views or live.views[name].sql != view.sql
    ]
    told = f"not as before, by us or by somebody else: {listed(faults, 10)}" if faults else "as they were"
    return Check("other tables and views", None if faults else True, told, "catalog.objects")
