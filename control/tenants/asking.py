"""What is looked at before rows go to another tenant: who would go, and whether they can."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import errors

from control import roles
from control.conductor import as_begun, ground_of
from control.course import actor
from control.plan.model import Plan
from control.stage import Ground, Standing
from control.tenants.assigning import is_pointed_to
from control.tenants.family import Family, family, own_key
from sql.errors import AssignmentError, GivenWrongError
from sql.postgres import assignments as looks
from sql.postgres import catalog, preflight, schemas
from sql.postgres.assignments import Chosen
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog
from worker import assignments, audit, ledger
from worker.assignments import Assignment
from worker.failure import Failure, sorted_by

#: What becomes of rows that can't be copied.
_IN_PLACE = "walk back with `tenantry rollback --to application`, assign, and run again"


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asks for: rows of `from_` go to `to` where `where` holds.

    Of these `tables`, or of those at the top. With `undoes` it is an earlier assignment that is taken back.
    """

    to: str
    from_: str
    where: str | None
    tables: tuple[str, ...] = ()
    undoes: int | None = None

    def is_of(self, assignment: Assignment) -> bool:
        """Whether it is what an assignment was begun with."""
        asked = (assignment.to_tenant, assignment.from_tenant, assignment.condition, assignment.undoes)
        same_tables = not self.tables or set(self.tables) == set(assignment.tables)
        return asked == (self.to, self.from_, self.where, self.undoes) and same_tables


@dataclass(frozen=True, slots=True)
class Prospect:
    """What would go: rows by table, of those that move together."""

    family: Family
    rows: dict[str, int]


def ground(plan: Plan, connection: Connection) -> Ground:
    """What an assignment stands on, once rows may go to another tenant.

    Raises:
        NoMigrationError: there is no such migration.
        AssignmentError: not now, and why.
    """
    migration = ledger.read(connection, plan.name)
    as_begun(plan, connection, migration)
    roles.admit(plan, connection)
    found = ground_of(plan, connection, migration, lambda _line: None)
    _open_gate(found)
    return found


def under_way(ground: Standing, wish: Wish) -> Assignment | None:
    """The assignment that was broken off, where it is just what is wished for now.

    Raises:
        AssignmentError: another one is to end first.
    """
    begun = assignments.unfinished(ground.connection, ground.migration)
    if begun is not None and not wish.is_of(begun):
        how = "--undo" if begun.undoes is not None else "the command that began it"
        raise AssignmentError([f"another was broken off: {begun}"], f"give {how} again, and it goes on")
    return begun


def last(ground: Standing) -> Wish:
    """What takes the last assignment back that is not taken back yet.

    Raises:
        GivenWrongError: there is none.
    """
    for one in reversed(assignments.all_of(ground.connection, ground.migration)):
        if one.state == "running" and one.undoes is not None:
            return Wish(one.to_tenant, one.from_tenant, None, one.tables, one.undoes)
        if one.state == "done" and one.undoes is None:
            return Wish(one.from_tenant, one.to_tenant, None, one.tables, one.id)
    raise GivenWrongError("no assignment is left to take back")


def begun_far_enough(ground: Standing) -> None:
    """See that every row has its tenant, and that the migration isn't held.

    Raises:
        AssignmentError: not now, and why.
    """
    state = ledger.state(ground.connection, ground.migration)
    if state not in {"running", "complete"}:
        raise AssignmentError([f"the migration is {state}"], "`tenantry resume`, or end the way back, first")
    stages = ledger.stages(ground.connection, ground.migration)
    if "backfill" not in stages or stages["backfill"].state != "done":
        raise AssignmentError(["not every row has its tenant yet"], "`tenantry run --to backfill` first")


def _open_gate(ground: Ground) -> None:
    begun_far_enough(ground)
    if ground.plan.separates and schemas.switched(ground.connection):
        raise AssignmentError(
            ["each tenant's rows are in a schema of its own by now"],
            "`tenantry rollback --to application`, assign, and run again",
        )
    tables = {name: table.identifier for name, table in ground.original.tables.items()}
    if hidden := looks.hidden(ground.connection, tables):
        raise AssignmentError(
            [f"row-level security hides rows of {', '.join(hidden)} from this role"],
            "run it as a role that has BYPASSRLS; the workers too",
        )


def prospect(ground: Ground, wish: Wish) -> Prospect:
    """Count what would go, and see whether it can.

    Raises:
        GivenWrongError: a tenant, a table or a condition that can't be.
        AssignmentError: rows whose ends would be torn apart, or that can't stand beside those of the tenant.
    """
    connection, plan = ground.connection, ground.plan
    broken = preflight.breaking(connection, [wish.to], plan.tenant.pattern)
    to_a_tenant(plan, wish, proper=not broken and wish.to != plan.tenant.sentinel_value)
    found = family(plan, ground.original, wish.tables)
    live = catalog.read(connection, [table.name for table in plan.tables])
    _readable(ground, found, wish)
    _no_keyless_top(found, live, plan.tenant.column)
    rows = {name: _chosen(ground, found, wish, live, name) for name in found.order}
    counts = _counted(connection, rows, wish)
    facts = [*_cannot_be_copied(ground, found, rows, live), *_torn(ground, found, rows, wish, live)]
    facts += _taken(ground, rows, wish, live)
    unless_refused(facts)
    return weighed(wish, found, counts)


def to_a_tenant(plan: Plan, wish: Wish, *, proper: bool) -> None:
    """See that rows go to another tenant, whose name is `proper`.

    Raises:
        GivenWrongError: it isn't one, or not another.
    """
    if wish.to == wish.from_:
        raise GivenWrongError(f"{wish.to} has its own rows already")
    if not wish.to or not proper:
        raise GivenWrongError(f"{wish.to!r} is no tenant: the plan's pattern is {plan.tenant.pattern}")


def unless_refused(facts: list[str]) -> None:
    """Nothing, where nothing stands in the way.

    Raises:
        AssignmentError: the facts.
    """
    if facts:
        raise AssignmentError(
            facts, "choose the rows with another --where, or mend what stands in the way; nothing was changed"
        )


def weighed(wish: Wish, found: Family, counts: dict[str, int]) -> Prospect:
    """What would go, where anything would.

    Raises:
        GivenWrongError: nothing would.
    """
    if not any(counts.values()):
        which = "that it was given is still its own" if wish.undoes is not None else f"is where {wish.where}"
        raise GivenWrongError(f"no row of {wish.from_} {which}")
    return Prospect(found, counts)


def begin(ground: Standing, found: Family, wish: Wish) -> Assignment:
    """Put an assignment on record, with the state of the migration before it."""
    connection, migration = ground.connection, ground.migration
    with connection.transaction():
        begun = assignments.begin(
            connection,
            migration,
            to=wish.to,
            from_=wish.from_,
            condition=wish.where,
            tables=found.asked,
            undoes=wish.undoes,
            before=ledger.state(connection, migration),
            actor=actor(),
        )
        audit.record(connection, migration, actor(), "assign", str(begun))
    return begun


def _readable(ground: Ground, found: Family, wish: Wish) -> None:
    if wish.where is None:
        return
    for name in found.asked:
        try:
            changing = looks.volatile(ground.connection, ground.original.table(name).identifier, wish.where)
        except errors.UndefinedColumn as error:
            raise GivenWrongError(
                f"{name}: {error.diag.message_primary}; name the tables that --where is about with --table"
            ) from None
        except psycopg.Error as error:
            raise GivenWrongError(f"{name}: the server says: {error.diag.message_primary}") from None
        if changing:
            raise GivenWrongError(
                f"{', '.join(changing)} may say something else each time (VOLATILE), so nobody could "
                "tell which rows went; let --where ask what is in the rows"
            )


def _counted(connection: Connection, rows: dict[str, Chosen], wish: Wish) -> dict[str, int]:
    try:
        return {name: looks.count(connection, chosen) for name, chosen in rows.items()}
    except psycopg.Error as error:
        if wish.where is None or sorted_by(error.sqlstate) is not Failure.DATA:
            raise
        raise GivenWrongError(f"--where fails for a row: {error.diag.message_primary}") from None


def _no_keyless_top(found: Family, live: Catalog, column: str) -> None:
    for name in found.asked:
        if not own_key(live.table(name), column):
            raise GivenWrongError(f"{name} has no key, so what goes could not be noted, nor come back")


def _chosen(ground: Ground, found: Family, wish: Wish, live: Catalog, name: str) -> Chosen:
    """The rows of a table that go; none of one that has no part in it."""
    plan, table = ground.plan, ground.original.table(name)
    column = plan.tenant.column
    if name not in found.above:
        return Chosen(table.identifier, column, wish.from_)
    along = next((way for way in found.above[name] if way.parent != name), None)
    tree = tuple(way.pairs for way in found.above[name] if way.parent == name)
    asked = name in found.asked
    noted = None
    if asked and wish.undoes is not None:
        noted = (wish.undoes, name, own_key(live.table(name), column))
    return Chosen(
        table.identifier,
        column,
        wish.from_,
        condition=wish.where if asked else None,
        noted=noted,
        along=None if along is None else (_chosen(ground, found, wish, live, along.parent), along.pairs),
        tree=tree,
    )


def _cannot_be_copied(ground: Ground, found: Family, rows: dict[str, Chosen], live: Catalog) -> Iterator[str]:
    column = ground.plan.tenant.column
    for name in found.order:
        table = live.table(name)
        if not is_pointed_to(table, column):
            continue
        key = table.primary_key
        if key is None or column not in key.columns:
            yield f"{name} has its old key and foreign keys with the tenant: the stage keys is half done"
            continue
        only_one = [index for index in table.indexes if index.unique or index.constraint is not None]
        if alone := [index.name for index in only_one if column not in index.columns]:
            yield (
                f"{', '.join(alone)} of {name} is unique without the tenant, so no copy can stand beside its "
                f"row: {_IN_PLACE}"
            )
        if not rows[name].tree:
            continue
        own = [one for one in key.columns if one != column]
        circling = looks.circling(ground.connection, rows[name], own)
        if circling.rows:
            yield (
                f"{circling.rows} rows of {name} name each other in a circle, or one that does, such as "
                f"{circling.example}, so that none can be copied first: {_IN_PLACE}"
            )
    if found.circle and any(is_pointed_to(live.table(name), column) for name in found.circle):
        yield f"{' and '.join(found.circle)} name each other, so that neither can be copied first"


def _torn(ground: Ground, found: Family, rows: dict[str, Chosen], wish: Wish, live: Catalog) -> Iterator[str]:
    """Edges of which one end would go and the other stay."""
    if ground.plan.tenant.cross_tenant == "source":
        return
    for child, key, named in found.edges:
        if child not in rows and named.parent not in rows:
            continue
        goes_along = child in rows and any(named.is_same(way) for way in found.above[child])
        if goes_along and child not in found.asked:
            continue
        ends = [rows.get(name) or _chosen(ground, found, wish, live, name) for name in (child, named.parent)]
        torn = looks.torn(ground.connection, ends[0], ends[1], named.pairs)
        if torn.rows:
            yield (
                f"{torn.rows} rows of {child} or the {named.parent} that they name by {key} would go "
                f"without the other, such as {torn.example}"
            )


def _taken(ground: Ground, rows: dict[str, Chosen], wish: Wish, live: Catalog) -> Iterator[str]:
    column = ground.plan.tenant.column
    for name, chosen in rows.items():
        for index in live.table(name).indexes:
            # What an expression or a predicate says is looked at by the server alone, once a row goes.
            own = [one for one in index.columns if one != column]
            if not (index.unique and index.btree_columns and own) or column not in index.columns:
                continue
            taken = looks.taken(ground.connection, chosen, own, wish.to)
            if taken.rows:
                yield (
                    f"{taken.rows} rows of {name} have a ({', '.join(own)}) that {wish.to} has too, "
                    f"such as {taken.example}"
                )
