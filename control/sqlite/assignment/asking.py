"""What is looked at before rows of a file go to another tenant: who would go, and whether they can."""

import sqlite3
from collections.abc import Iterator

from control.plan.model import Plan
from control.sqlite import conductor
from control.sqlite.assignment.lists import Lists, family_of, follow, lists_of
from control.sqlite.stage import Ground, sentinel_of
from control.sqlite.steps import look
from control.sqlite.tenants import proper
from control.tenants.asking import Prospect, Wish, begun_far_enough, to_a_tenant, unless_refused, weighed
from control.tenants.family import Family
from sql.errors import GivenWrongError
from sql.sqlite import moving
from sql.sqlite.connection import File
from sql.sqlite.facts import Table
from sql.sqlite.names import folded
from worker import ledger


def ground(plan: Plan, file: File) -> Ground:
    """What an assignment stands on, once rows may go to another tenant.

    Raises:
        NoMigrationError: there is no such migration.
        AssignmentError: not now, and why.
    """
    migration = ledger.read(file, plan.name)
    conductor.as_begun(plan, file, migration)
    found = conductor.ground_of(plan, file, migration, lambda _line: None)
    begun_far_enough(found)
    return found


def prospect(ground: Ground, wish: Wish) -> Prospect:
    """Count what would go, and see whether it can; nobody waits for it meanwhile.

    Raises:
        GivenWrongError: a tenant, a table or a condition that can't be.
        AssignmentError: rows whose ends would be torn apart, or that can't stand beside those of the tenant.
    """
    plan = ground.plan
    to_a_tenant(plan, wish, proper=proper(plan.tenant.pattern, wish.to) and wish.to != sentinel_of(plan))
    found = family_of(plan, ground.original, wish.tables)
    with lists_of(ground, found, where=wish.where, undoes=wish.undoes) as lists:
        for name in found.asked:
            _readable(lists, name)
        with ground.connection.snapshot():
            for name in found.asked:
                lists[name].choose_all(wish.from_)
            follow(found, lists, wish.from_)
            unless_refused([*_torn(ground, found, lists, wish), *_taken(lists, wish)])
            return weighed(wish, found, {name: one.count() for name, one in lists.items()})


def _readable(lists: Lists, name: str) -> None:
    if not lists[name].identity:
        raise GivenWrongError(f"{name} has no key, so what goes could not be noted, nor come back")
    if not lists[name].is_one_condition():
        raise GivenWrongError(
            "--where is to be one condition, its brackets closed, with no comment at its end"
        )
    if changing := lists[name].changing():
        raise GivenWrongError(
            f"{', '.join(changing)} may say something else each time, so nobody could tell which rows went; "
            "let --where ask what is in the rows"
        )
    try:
        lists[name].explain()
    except sqlite3.Error as error:
        raise GivenWrongError(
            f"{name}: SQLite says: {error}; name the tables that --where is about with --table"
        ) from None


def _torn(ground: Ground, found: Family, lists: Lists, wish: Wish) -> Iterator[str]:
    """Edges of which one end would go and the other stay."""
    plan, live = ground.plan, look(ground.connection, ground.plan)
    if plan.tenant.cross_tenant == "source":
        return
    for child, key, named in found.edges:
        if child not in lists and named.parent not in lists:
            continue
        goes_along = child in lists and any(named.is_same(way) for way in found.above[child])
        if goes_along and child not in found.asked:
            continue
        goes = tuple(
            lists[name].goes(alias) if name in lists else "false"
            for name, alias in ((child, "t"), (named.parent, "p"))
        )
        rows, example = moving.torn(
            live.table(child),
            live.table(named.parent),
            named.pairs,
            file=ground.connection,
            from_=wish.from_,
            column=plan.tenant.column,
            goes=(goes[0], goes[1]),
        )
        if rows:
            yield (
                f"{rows} rows of {child} or the {named.parent} that they name by {key} would go without the "
                f"other, such as {example}"
            )


def _taken(lists: Lists, wish: Wish) -> Iterator[str]:
    for name, one in lists.items():
        for columns in _unique_within_tenants(one.table, one.column):
            rows, example = one.taken(columns, wish.to)
            if rows:
                same = ", ".join(columns)
                yield f"{rows} rows of {name} have a {same} that {wish.to} has too, such as {example}"


def _unique_within_tenants(table: Table, column: str) -> list[tuple[str, ...]]:
    """What is unique within each tenant: the columns beside the tenant's, of each key that holds it."""
    keys = [table.primary_key]
    keys += [
        tuple(name for name in one.columns if name is not None)
        for one in table.indexes
        if one.unique and not one.partial and None not in one.columns
    ]
    held = [key for key in keys if any(folded(name) == folded(column) for name in key)]
    rest = [tuple(name for name in key if folded(name) != folded(column)) for key in held]
    return list(dict.fromkeys(key for key in rest if key))
