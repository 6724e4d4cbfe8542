"""Tables with the tenants that their rows will have, worked out for all of them at once and written nowhere.

It looks at no tenant column, which may not be there yet: a parent's tenants are those that its own rows will
have. And it lets pass what breaks the pattern, for `check` to show.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sql.named import load
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.names import folded, literal, quoted, written
from sql.tenant_source import Constant, Expression, Lookup, Parent, TenantSource, chain, last_resort

STATEMENTS = load(Path(__file__).parent, "planned")

#: The column that holds a row's tenant-to-be; no column of anybody's is called that.
TENANT = quoted("tenantry: tenant to be")
#: And the one that holds a row's place: its rowid, or its key as one text.
PLACE = quoted("tenantry: place")
#: What a row is called, for the operator's expressions too; and one of another table, in a subquery.
ROW = "t"
_TOLD = quoted("tenantry: told")


def called(name: str) -> str:
    """What a table of the plan with its tenants is called, for a FROM."""
    return quoted(f"tenantry: {folded(name)}")


def planned(
    sources: Mapping[str, TenantSource],
    original: Catalog,
    *names: str,
    some: Mapping[str, str] | None = None,
) -> str:
    """The tables as they will be, with all that they take their tenants from: what follows WITH.

    `some` are subqueries with rows to look at, by their table, where not all are.

    Raises:
        KeyError: a table isn't there.
    """
    return ",\n".join(
        _table(sources, original, name, (some or {}).get(name)) for name in _needed(sources, names)
    )


def _needed(sources: Mapping[str, TenantSource], names: Sequence[str]) -> list[str]:
    """These tables and all that they ask, those that are asked first."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        if name in found:
            return
        for source in chain(sources[name]):
            if isinstance(source, Parent) and source.parent != name:
                add(source.parent)
        found[name] = None

    for name in names:
        add(name)
    return list(found)


def _table(sources: Mapping[str, TenantSource], original: Catalog, name: str, some: str | None) -> str:
    first, *others = chain(sources[name])
    there = original.table(name)
    shared = {
        "called": called(name),
        "rows": f"main.{quoted(there.name)}" if some is None else some,
        "placed": PLACE,
        "tenant": TENANT,
    }
    place = place_of(there, ROW)
    if not isinstance(first, Parent) or first.parent != name:
        value = _value(original, [first, *others], None)
        return STATEMENTS.table.filled(place=place, value=value, **shared)
    keys = [f"k{at}" for at in range(len(first.on))]
    named = {column: f"c{at}" for at, column in enumerate(dict.fromkeys([*first.on, *first.on.values()]))}
    return STATEMENTS.tree.filled(
        place=place,
        named=", ".join(f"{ROW}.{quoted(column)} AS {one}" for column, one in named.items()),
        value=_value(original, others, last_resort(first) if not others else None),
        keys=", ".join(keys),
        theirs=", ".join(f"b.{named[column]}" for column in first.on.values()),
        above=" AND ".join(f"r.{named[their]} = b.{named[our]}" for our, their in first.on.items()),
        below=" AND ".join(f"b.{named[our]} = walked.{key}" for our, key in zip(first.on, keys, strict=True)),
        **shared,
    )


def place_of(there: Table, of: str) -> str:
    """A row's place as SQL: NULL where nothing tells rows apart."""
    if there.rowid is not None:
        return f"{of}.{there.rowid}"
    return " || ', ' || ".join(written(f"{of}.{quoted(name)}") for name in there.primary_key) or "NULL"


def _value(original: Catalog, asked: Sequence[TenantSource], after: str | None) -> str:
    """What the sources say of a row, each asked where those before it say nothing."""
    value = literal(last_resort(asked[-1]) if asked else after)
    for source in reversed(asked):
        match source:
            case Constant(constant=constant):
                value = literal(constant)
            case Expression(expression=expression):
                # On lines of its own: it may end in a comment.
                value = _first_of(f"CAST((\n{expression}\n) AS TEXT)", value)
            case Lookup(lookup=lookup, on=on, column=column):
                told = f"CAST({_TOLD}.{quoted(column)} AS TEXT)"
                value = _first_of(_asked(f"main.{quoted(lookup)}", on, told), value)
            case Parent(parent=parent, on=on):
                told = _asked(called(original.table(parent).name), on, f"{_TOLD}.{TENANT}")
                is_there = _asked(called(original.table(parent).name), on, "1")
                value = told if value == "NULL" else f"CASE WHEN {is_there} THEN {told} ELSE {value} END"
    return value


def _first_of(value: str, following: str) -> str:
    return f"coalesce(nullif({value}, ''), {following})"


def _asked(other: str, on: Mapping[str, str], told: str) -> str:
    pairs = matches(on, _TOLD, ROW)
    return STATEMENTS.told.filled(told=told, other=other, as_=_TOLD, pairs=pairs)


def matches(on: Mapping[str, str], theirs: str, ours: str) -> str:
    """That a row of one table (`ours`) names a row of another (`theirs`), both as SQL."""
    return " AND ".join(_pairs(on, theirs, ours))


def _pairs(on: Mapping[str, str], theirs: str, ours: str) -> Iterator[str]:
    for our, their in on.items():
        yield f"{theirs}.{quoted(their)} = {ours}.{quoted(our)}"
