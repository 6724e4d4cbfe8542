"""The write guard of a SQLite file: rows written by code that does not know the tenant column get theirs.

Where every row has the same tenant and the column is new, the guard is the column's default. Else a trigger
updates the row right after it was written to what the plan's source says, and counts each use. It stays until
`verify` sees that nothing has needed it for the quiet time.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.sqlite import following
from control.sqlite.jobs import identity_of, is_instant
from control.sqlite.stage import Live, Step
from sql.sqlite import guard
from sql.sqlite.connection import File
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.guard import STATEMENTS, USES, Use, counted, is_same, of_rowid
from sql.sqlite.names import folded, literal, quoted
from sql.tenant_source import Expression, chain


def put(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Put the guard in its place. What undoing `verify` begins with."""
    for step in _put_all(plan, original):
        yield replace(step, guards=True)


def _put_all(plan: Plan, original: Catalog) -> Iterator[Step]:
    guarded = _guarded(plan, original)
    if guarded:
        yield Step(
            what="what counts the write guard's uses",
            # The one without a name is for batches: `sql.sqlite.guard.followed_by_nobody`.
            statements=(STATEMENTS.create_uses.filled(), STATEMENTS.count_from_now.filled(name="''")),
            done=lambda live: USES in live.ours,
        )
    # Before the guards, which give tenants: where a parent moves before its follower stands, its rows stay.
    # And a parent's guard before its children's, for what follows a new row is in there.
    yield from following.put(plan, original)
    for table in plan.in_order():
        if table in guarded:
            yield from _put(plan, table, original)


def drop(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Take the guard away; what counts its uses too, unless another migration has guards there."""
    yield from following.drop(plan, original)
    for table in _guarded(plan, original):
        was = original.table(table.name)
        count = STATEMENTS.count_no_more.filled(name=literal(was.name))
        for trigger in _triggers(table, was):
            yield Step(
                what=f"{table.name}: drop {trigger}",
                statements=(STATEMENTS.drop_trigger.filled(trigger=quoted(trigger)), count),
                done=lambda live, trigger=trigger: trigger not in live.ours,  # type: ignore[misc]
            )
    if _guarded(plan, original):
        yield Step(
            what="drop what counted the write guard's uses",
            statements=(STATEMENTS.drop_uses.filled(),),
            done=_uncounted_or_used,
        )


def retire(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Take the guard away for good.

    A constant tenant's default stays in the schema: SQLite has no statement that changes a default, and no
    row without a tenant comes of it.
    """
    return drop(plan, original)


def uses(file: File, plan: Plan, original: Catalog) -> dict[str, Use]:
    """How often the guard of each table was needed since it was put there.

    Tables without a guard, for a constant tenant or because it was retired, are not in it: nothing counts
    the uses of a default.
    """
    if not guard.is_there(file):
        return {}
    found = guard.uses(file)
    named = ((table.name, original.table(table.name).name) for table in _guarded(plan, original))
    return {table: found[name] for table, name in named if name in found}


def _guarded(plan: Plan, original: Catalog) -> list[PlanTable]:
    return [table for table in plan.tables if not is_instant(plan, table, original)]


def _of_inserts(was: Table) -> str:
    return f"tenantry_insert_{was.name}"


def _of_changes(was: Table) -> str:
    return f"tenantry_update_{was.name}"


def _triggers(table: PlanTable, was: Table) -> tuple[str, ...]:
    return (_of_inserts(was), _of_changes(was)) if _watched(table, was) else (_of_inserts(was),)


def _put(plan: Plan, table: PlanTable, original: Catalog) -> Iterator[Step]:
    was = original.table(table.name)
    identity = identity_of(was)
    parts = following.fragments_of(plan, table, was) | {
        "t_is_new": is_same("t", "NEW", identity),
        "is_new": is_same(quoted(was.name), "NEW", identity),
    }
    # Before the guard of new rows: one that has its tenant and then changes is looked at by nobody else.
    if watched := _watched(table, was):
        yield Step(
            what=f"{table.name}: the guard of changes",
            statements=(
                STATEMENTS.create_trigger_of_changes.filled(
                    trigger=quoted(_of_changes(was)),
                    watched=", ".join(map(quoted, [*watched, *of_rowid(was, watched)])),
                    changed=" OR ".join(f"OLD.{quoted(name)} IS NOT NEW.{quoted(name)}" for name in watched),
                    count_if=counted(STATEMENTS.count_if, was.name),
                    **parts,
                ),
            ),
            done=lambda live: _of_changes(was) in live.ours,
        )
    yield Step(
        what=f"{table.name}: the guard",
        statements=(
            STATEMENTS.count_from_now.filled(name=literal(was.name)),
            STATEMENTS.create_trigger.filled(
                trigger=quoted(_of_inserts(was)),
                count=counted(STATEMENTS.count, was.name),
                followed=following.of_new(plan, original, was.name),
                **parts,
            ),
        ),
        done=lambda live: _of_inserts(was) in live.ours,
    )


def _watched(table: PlanTable, was: Table) -> list[str]:
    """The columns that tell a row's tenant. Of an expression those that it may name: rather too many."""
    named: set[str] = set()
    for source in chain(table.tenant):
        if isinstance(source, Expression):
            named |= _named_in(source.expression, was)
        else:
            named |= {folded(name) for name in getattr(source, "on", {})}
    columns = [column for column in was.columns if folded(column.name) in named]
    if any(column.generated for column in columns):
        return list(was.stored)  # it is made of some of them
    return [column.name for column in columns]


def _named_in(expression: str, was: Table) -> set[str]:
    words = set(re.findall(r"\w+", folded(expression)))
    everything = {"t", folded(was.name)} & words
    return {
        folded(column.name)
        for column in was.columns
        if everything or set(re.findall(r"\w+", folded(column.name))) <= words
    }


def _uncounted_or_used(live: Live) -> bool:
    return USES not in live.ours or any(name.startswith("tenantry_insert_") for name in live.ours)
