"""Where a table's tenants come from: what a source names is there, can be compared, and is found quickly."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from control import following
from control.plan.sections import Table as PlanTable
from control.preflight.finding import Finding, none_of
from control.preflight.rows import planned
from control.stage import Ground
from sql.postgres import catalog, preflight
from sql.postgres.facts import Table
from sql.postgres.source import expression_text, matches
from sql.tenant_source import Expression, Lookup, Parent, chain, split_name

#: Below so many rows a scan takes no longer than a millisecond or so, and no index is missed.
LARGE = 10_000
#: The same in bytes, where nobody has counted the rows yet.
LARGE_BYTES = 1_000_000

#: Kinds of tables that a trigger can be put on for each row, so that rows follow what is looked up there.
_WITH_TRIGGERS = ("r", "p", "f")


#: A fact that stops, and the way out.
Wrong = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Named:
    """A source that reads another table, and that table; None where it isn't there."""

    source: Lookup | Parent
    there: Table | None

    @property
    def name(self) -> str:
        """The table as the plan writes it."""
        return name_of(self.source)


def look(ground: Ground, table: PlanTable, found: Table, leaders: Mapping[str, Table]) -> Iterator[Finding]:
    """Every fact about a table's source that the catalog and the server's parser know."""
    named = [
        Named(one, leaders.get(name_of(one)))
        for one in chain(table.tenant)
        if isinstance(one, Lookup | Parent)
    ]
    name = f"{table.name}: tenant source"
    wrong = (
        _missing(found, named)
        or _not_compared(ground, found, named)
        or _refused(ground, table)
        or (None if ground.window else _generated(ground, table, found) or _without_triggers(named))
    )
    if wrong is not None:
        yield Finding("stop", name, *wrong)
        return
    yield Finding("pass", name, "the server can work it out")
    yield from _rights(ground, table, named)
    for one in named:
        if one.there is not None:
            columns = tuple(dict.fromkeys(one.source.on.values()))
            yield _index(f"{table.name}: index to find {one.name} by", one.name, one.there, columns)
    followers = following.followers(ground.plan, ground.original) if _all_there(ground) else ()
    for follower in followers:
        if follower.table.name == table.name:
            what = f"{table.name}: index to follow {follower.leader} by"
            yield _index(what, table.name, found, tuple(follower.source.on))


def name_of(source: Lookup | Parent) -> str:
    """The table that tells, as the plan writes it."""
    return source.parent if isinstance(source, Parent) else source.lookup


def leaders(ground: Ground) -> Mapping[str, Table]:
    """Every table that tells another's rows their tenant, as the plan writes it; those that are there.

    Lookups are read all at once: of 200 tables each may look into the same one.
    """
    named = {
        source.lookup
        for table in ground.plan.tables
        for source in chain(table.tenant)
        if isinstance(source, Lookup) and _is_name(source.lookup)
    }
    there = catalog.read(ground.connection, sorted(named)).tables if named else {}
    return {**there, **ground.original.tables}


def _is_name(name: str) -> bool:
    try:
        split_name(name)
    except ValueError:
        return False
    return True


def _all_there(ground: Ground) -> bool:
    return all(table.name in ground.original.tables for table in ground.plan.tables)


def _missing(found: Table, named: Sequence[Named]) -> Wrong | None:
    gone: list[str] = []
    for one in named:
        gone += [column for column in one.source.on if found.column(column) is None]
        if one.there is None:
            gone.append(one.name)
            continue
        told = [one.source.column] if isinstance(one.source, Lookup) else []
        theirs = (*one.source.on.values(), *told)
        gone += [f"{one.name}.{column}" for column in theirs if one.there.column(column) is None]
    if not gone:
        return None
    return f"there is no {', '.join(dict.fromkeys(gone))}", "correct the source in the plan, or the schema"


def _not_compared(ground: Ground, found: Table, named: Sequence[Named]) -> Wrong | None:
    for one in named:
        for ours, theirs in one.source.on.items():
            our, their = found.column(ours), one.there.column(theirs) if one.there else None
            if our is None or their is None or one.there is None:
                continue
            said = preflight.not_compared(
                ground.connection, found.identifier, one.there.identifier, matches({ours: theirs}, "r", "t")
            )
            if said is not None:
                fact = (
                    f"{ours} is {our.type}, and {one.name}.{theirs} is {their.type}: the server says: {said}"
                )
                return fact, (
                    "name two columns of one type; or give one of them the other's, which writes its table "
                    "anew (ALTER TABLE … ALTER COLUMN … TYPE … USING …)"
                )
    return None


def _refused(ground: Ground, table: PlanTable) -> Wrong | None:
    if not _all_there(ground):
        return None  # what tells the parents' tenants may be missing, which stops already
    said = preflight.explain(ground.connection, planned(ground.plan, ground.original, table.name))
    return None if said is None else (f"the server says: {said}", "correct the source in the plan")


def _generated(ground: Ground, table: PlanTable, found: Table) -> Wrong | None:
    """A generated column has no value yet when the guard asks: an insert of old code would get no tenant."""
    there = [column.name for column in found.columns if column.generated]
    read: list[str] = []
    for source in chain(table.tenant):
        if isinstance(source, Expression):
            read += there if there and _names_generated(ground, found, source) else []
        else:
            read += [column for column in there if column in getattr(source, "on", {})]
    if not read:
        return None
    fact = f"{', '.join(dict.fromkeys(read))} is generated, and has no value yet when the write guard asks"
    return fact, "name in its place what it is generated from"


def _without_triggers(named: Sequence[Named]) -> Wrong | None:
    views = [one.name for one in named if one.there is not None and one.there.kind not in _WITH_TRIGGERS]
    if not views:
        return None
    fact = f"{', '.join(views)} is no table: it takes no triggers, and rows couldn't follow a change there"
    return fact, "name the table that it reads, or make a table of it"


def _names_generated(ground: Ground, found: Table, source: Expression) -> bool:
    """Whether an expression can't do without the generated columns."""
    kept = [sql.Identifier(column.name) for column in found.columns if not column.generated]
    rows = preflight.without_generated(found.identifier, kept)
    return preflight.explain_value(ground.connection, expression_text(source.expression), rows) is not None


def _rights(ground: Ground, table: PlanTable, named: Sequence[Named]) -> Iterator[Finding]:
    oids = [one.there.oid for one in named if one.there and isinstance(one.source, Lookup)]
    if oids and not ground.window:
        role = preflight.rights(ground.connection).role
        yield none_of(
            f"{table.name}: rights on what is looked up",
            preflight.not_owned(ground.connection, oids),
            level="stop",
            way_out=f"triggers of the write guard stand there: run as its owner, or GRANT that TO {role}",
            fine=f"{role} may act as its owner",
        )


def _index(name: str, called: str, there: Table, columns: tuple[str, ...]) -> Finding:
    """Whether an index leads to the rows that hold these values."""
    parts = there.partitions if there.kind == "p" else (there,)
    scanned = [part for part in parts if not _leads(part, columns)]
    rows = sum(max(0, part.rows) for part in scanned)
    unknown = any(part.rows < 0 and part.bytes > LARGE_BYTES for part in scanned)
    of = ", ".join(columns)
    if not scanned:
        return Finding("pass", name, f"({of}) of {called} has one")
    if rows < LARGE and not unknown:
        return Finding("pass", name, f"({of}) of {called} has none, and needs none for {rows:,} rows")
    fact = (
        f"none begins with ({of}) of {called}: each time all its rows are read, {rows:,} by the last ANALYZE"
    )
    indexed = sql.SQL(", ").join(map(sql.Identifier, columns))
    statements = [
        sql.SQL("CREATE INDEX CONCURRENTLY ON {} ({})").format(part.identifier, indexed).as_string()
        for part in scanned
    ]
    return Finding("warn", name, fact, "; ".join(statements))


def _leads(part: Table, columns: tuple[str, ...]) -> bool:
    """Whether an index over every row has these columns in front, and finds what is equal."""
    return any(
        index.valid
        and index.predicate is None
        and set(index.columns[: len(columns)]) <= set(columns)
        and any(f" USING {method} (" in index.definition for method in ("btree", "hash"))
        for index in part.indexes
    )
