"""Where a table's tenants come from: what a source names is there, is compiled, and is found quickly."""

from collections.abc import Iterator, Mapping

from control.plan.sections import Table as PlanTable
from control.preflight.finding import Finding
from control.preflight.sources import LARGE, name_of
from control.sqlite.stage import Ground
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.names import folded, listed, quoted
from sql.sqlite.preflight import Rows, Size
from sql.tenant_source import Lookup, Parent, chain

#: A fact that stops, and the way out.
Wrong = tuple[str, str]


def rows_of(ground: Ground) -> Rows:
    """The plan's tables with the tenants that their rows will have."""
    sources = {table.name: ground.plan.source_of(table) for table in ground.plan.tables}
    return Rows(ground.connection, sources, ground.original)


def look(ground: Ground, table: PlanTable, found: Table) -> Iterator[Finding]:
    """Every fact about a table's source that the schema and SQLite's parser know."""
    name = f"{table.name}: tenant source"
    wrong = _missing(ground.original, table, found) or _refused(ground, table)
    if wrong is not None:
        yield Finding("stop", name, *wrong)
    else:
        yield Finding("pass", name, "SQLite can work it out")


def asked(table: PlanTable) -> Iterator[Lookup | Parent]:
    """The sources of a table that read another one."""
    return (source for source in chain(table.tenant) if isinstance(source, Lookup | Parent))


def _missing(original: Catalog, table: PlanTable, found: Table) -> Wrong | None:
    gone: list[str] = []
    for source in asked(table):
        called = name_of(source)
        there = original.find(called)
        gone += [column for column in source.on if found.column(column) is None]
        if there is None:
            if any(folded(view) == folded(called) for view in original.views):
                fact = f"{called} is a view: it takes no triggers, and rows couldn't follow a change there"
                return fact, "name the table that it reads, or make a table of it"
            gone.append(called)
            continue
        theirs = (*source.on.values(), *([source.column] if isinstance(source, Lookup) else []))
        gone += [f"{called}.{column}" for column in theirs if there.column(column) is None]
    if not gone:
        return None
    return f"there is no {', '.join(dict.fromkeys(gone))}", "correct the source in the plan, or the schema"


def _refused(ground: Ground, table: PlanTable) -> Wrong | None:
    every = ground.plan.tables
    if any(_missing(ground.original, one, ground.original.table(one.name)) for one in every):
        return None  # what tells the parents' tenants is missing, which stops already
    rows = rows_of(ground)
    if any(rows.refused(parent) for parent in table.parents):
        return None  # and so is what tells the parent's
    said = rows.refused(table.name)
    return None if said is None else (f"SQLite says: {said}", "correct the source in the plan")


def indexes(ground: Ground, sizes: Mapping[str, Size]) -> Iterator[Finding]:
    """Whether an index leads to each row that is looked up, and to those that follow a change there."""
    for table in ground.plan.tables:
        found = ground.original.table(table.name)
        for source in asked(table):
            there = ground.original.table(name_of(source))
            theirs = tuple(dict.fromkeys(source.on.values()))
            yield _index(f"{table.name}: index to find {there.name} by", there, theirs, sizes)
            what = f"{table.name}: index to follow {there.name} by"
            yield _index(what, found, tuple(source.on), sizes)


def _index(name: str, there: Table, columns: tuple[str, ...], sizes: Mapping[str, Size]) -> Finding:
    of = ", ".join(columns)
    if _leads(there, columns):
        return Finding("pass", name, f"({of}) of {there.name} has one")
    rows = sizes[there.name].rows
    if rows < LARGE:
        return Finding("pass", name, f"({of}) of {there.name} has none, and needs none for {rows:,} rows")
    fact = f"none begins with ({of}) of {there.name}: each time all its {rows:,} rows are read"
    wanted = quoted(f"idx_{there.name}_{'_'.join(columns)}")
    return Finding("warn", name, fact, f"CREATE INDEX {wanted} ON {quoted(there.name)} ({listed(columns)})")


def _leads(there: Table, columns: tuple[str, ...]) -> bool:
    """Whether an index over every row, or the rowid, has these columns in front."""
    wanted = {folded(column) for column in columns}
    if there.rowid_alias is not None and folded(there.rowid_alias) in wanted:
        return True
    if there.without_rowid and {folded(name) for name in there.primary_key[: len(columns)]} <= wanted:
        return True
    return any(
        not index.partial and {folded(name or "") for name in index.columns[: len(columns)]} <= wanted
        for index in there.indexes
    )
