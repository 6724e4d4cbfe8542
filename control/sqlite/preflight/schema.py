"""What in the whole schema our connection can't compile, and what leans on rowids."""

from collections.abc import Iterator

from control.preflight.finding import Finding, none_of
from control.sqlite.stage import Ground
from sql.sqlite import preflight, reading
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.names import folded

#: How SQLite says that something is the application's own: it has one result code for all that it can't
#: compile, but for a collation.
_FUNCTION = ("no such function", "unknown function", "no such module")
_COLLATION = "no such collation"


def look(ground: Ground) -> Iterator[Finding]:
    """Every fact about views, triggers, functions and collations of the whole file."""
    planned = {folded(table.name) for table in ground.plan.tables}
    needed, others, broken = list[str](), list[str](), list[str]()
    for name, said, is_needed in (*_views(ground), *_tables(ground, planned)):
        told = f"{name}: {said}"
        if not any(one in said for one in _FUNCTION):
            broken.append(told)
        elif is_needed:
            needed.append(told)
        else:
            others.append(told)
    yield none_of(
        "views and triggers",
        broken,
        level="stop",
        way_out="they name what this file hasn't got (a table that is attached or temporary elsewhere, "
        "or gone), "
        "and SQLite refuses to drop or rename anything beside them: mend them, or drop them and bring them "
        "back",
        fine="each can be compiled",
    )
    yield none_of(
        "functions of the application",
        needed,
        level="stop",
        way_out="only the application's connections have them, and an update of the plan's tables needs "
        "them: put "
        "what SQLite has in their place for the while (drop that trigger, check, index or generated column)",
        fine="the plan's tables need none",
    )
    yield none_of(
        "functions of the application elsewhere",
        others,
        level="warn",
        way_out="our connection hasn't got them, and doesn't touch these; but `verify` can't read such "
        "a view",
        fine="none",
    )
    yield from _collations(ground, planned)
    yield from _virtual(ground, planned)


def _views(ground: Ground) -> Iterator[tuple[str, str, bool]]:
    """The views that can't be compiled: their names, why not, and whether an update by us needs them."""
    file = ground.connection
    for view in ground.original.views.values():
        said = preflight.refused(file, preflight.reading(view.name))
        if said is not None:
            yield f"view {view.name}", said, False
            continue
        kinds = {reading.event(trigger.sql).kind for trigger in view.triggers}
        statements = preflight.writing(view.name, preflight.columns(file, view.name), is_view=True)
        for kind in sorted(kinds):
            said = preflight.refused(file, statements[kind])
            if said is not None:
                yield f"view {view.name}, its triggers for {kind.upper()}", said, False


def _tables(ground: Ground, planned: set[str]) -> Iterator[tuple[str, str, bool]]:
    """The same for tables: what their checks, generated columns, indexes and triggers need."""
    file, original = ground.connection, ground.original
    for table in original.tables.values():
        said = preflight.refused(file, preflight.reading(table.name))
        statements = preflight.writing(table.name, table.stored)
        seen = set[str]() if said is None else {said}
        if said is not None:
            yield table.name, said, folded(table.name) in planned
        for kind, statement in statements.items():
            said = preflight.refused(file, statement)
            if said is not None and said not in seen and _COLLATION not in said:
                seen.add(said)
                yield _culprits(table, kind), said, folded(table.name) in planned and kind != "delete"


def _culprits(table: Table, kind: str) -> str:
    """What a statement of a kind would set off beside the table's own checks."""
    fired = [one.name for one in table.triggers if reading.event(one.sql).kind == kind]
    return f"{table.name}, trigger {', '.join(fired)}" if fired else f"{table.name}, {kind.upper()}"


def _collations(ground: Ground, planned: set[str]) -> Iterator[Finding]:
    needed, others = list[str](), list[str]()
    for name, table, statement in _statements(ground.original):
        told = [
            f"{name}: {one}"
            for one in dict.fromkeys(reading.collations(statement))
            if not preflight.has_collation(ground.connection, one)
        ]
        if folded(table) in planned:
            needed += told
        else:
            others += told
    yield none_of(
        "collations of the application",
        needed,
        level="stop",
        way_out="only the application's connections have them, and without them these tables can't be "
        "written "
        "anew or sorted: take another collation for the while, or leave the table out",
        fine="the plan's tables need none",
    )
    yield none_of(
        "collations of the application elsewhere",
        others,
        level="warn",
        way_out="our connection hasn't got them, and leaves these alone",
        fine="none",
    )


def _statements(original: Catalog) -> Iterator[tuple[str, str, str]]:
    """Every statement of the schema, with the name of what it makes and the table that this is of."""
    for table in original.tables.values():
        yield table.name, table.name, table.sql
        for index in table.indexes:
            yield f"{table.name}, index {index.name}", table.name, index.sql or ""
        for trigger in table.triggers:
            yield f"{table.name}, trigger {trigger.name}", table.name, trigger.sql
    for view in original.views.values():
        yield f"view {view.name}", "", view.sql


def _virtual(ground: Ground, planned: set[str]) -> Iterator[Finding]:
    """Virtual tables: which of them lean on rowids of the plan's tables."""
    virtual = preflight.virtual(ground.connection)
    leaning = {
        name: there for name, sql in virtual.items() if folded(there := reading.content(sql) or "") in planned
    }
    by_rowid = [
        f"{name} reads {there} by its rowid, which a rebuild keeps, and VACUUM doesn't"
        for name, there in leaning.items()
        if ground.original.table(there).rowid_alias is None
    ]
    yield none_of(
        "virtual tables on rowids",
        by_rowid,
        level="warn",
        way_out="don't VACUUM without rebuilding them afterwards; it has been so before the migration, too",
        fine="none leans on a rowid that could change",
    )
    alone = [f"{name} ({reading.module(sql)})" for name, sql in virtual.items() if name not in leaning]
    if alone:
        fact = f"{', '.join(alone)}: which rows they belong to only the application knows; rowids are kept"
        way_out = "they get no tenant: let the application join them with their table and its tenant"
        yield Finding("warn", "virtual tables", fact, way_out)
    elif leaning:
        fact = f"{', '.join(leaning)}: hold no tenant; join them with the table that they read"
        yield Finding("pass", "virtual tables", fact)
    else:
        yield Finding("pass", "virtual tables", "none")
