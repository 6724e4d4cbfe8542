"""What keeps tenants right while old code moves rows: what told a tenant has another, and the rows follow.

Each source that reads another table has a follower: a function in the guard's schema, called by triggers of
that table. It gives the rows in question the tenant that their source tells now, or refuses the change where
the plan says so. A row that was written at the same moment, in a transaction that saw the old tenant, isn't
among them: the follower leaves a note of each move, and `settle` looks again once those transactions end.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from control import names
from control.course import go_on
from control.jobs import rules_of
from control.plan.model import Plan
from control.plan.model import Table as PlanTable
from control.stage import Ground, How, Step
from sql.postgres import guard
from sql.postgres.connection import Connection, literal
from sql.postgres.facts import Catalog, Table
from sql.postgres.guard import STATEMENTS
from sql.postgres.source import tenant_of
from sql.tenant_source import Lookup, Parent, chain, qualified, split_name

#: Seconds between two looks at transactions that are still open; and after which the operator is told.
POLL, TELL_AFTER = 0.2, 5.0
_MOVES = f"{names.GUARD_SCHEMA}.moves_id_seq"


@dataclass(frozen=True, slots=True)
class Follower:
    """The rows of a table that take their tenant from another by one of its sources."""

    plan: Plan
    table: PlanTable
    was: Table
    source: Lookup | Parent
    first: bool
    """Whether it is asked first, and so what it doesn't tell may be told by another."""

    @property
    def name(self) -> str:
        """What its function is called, and its notes."""
        return names.follower(self.was, self.leader, tuple(self.source.on))

    @property
    def leader(self) -> str:
        """The table that tells, as the plan writes it."""
        return self.source.parent if isinstance(self.source, Parent) else self.source.lookup

    @property
    def told_by(self) -> str:
        """The column of that table that tells."""
        return self.source.column if isinstance(self.source, Lookup) else self.plan.tenant.column

    @property
    def function(self) -> sql.Identifier:
        """Its function."""
        return sql.Identifier(names.GUARD_SCHEMA, self.name)

    @property
    def value(self) -> sql.Composable:
        """The tenant of a row called `t`: what is told, or where nothing is told what it has."""
        rules = rules_of(self.plan, self.table)
        told = tenant_of(self.plan.source_of(self.table), rules)
        return sql.SQL("coalesce({}, t.{})").format(told, sql.Identifier(self.plan.tenant.column))


def followers(plan: Plan, original: Catalog) -> Iterator[Follower]:
    """List those of a plan."""
    for table in plan.tables:
        for at, source in enumerate(chain(table.tenant)):
            if isinstance(source, Lookup | Parent) and _may_move(plan, source):
                yield Follower(plan, table, original.table(table.name), source, first=at == 0)


def _may_move(plan: Plan, source: Lookup | Parent) -> bool:
    """Whether what tells may change: the rows of a table with a constant tenant all have that."""
    return isinstance(source, Lookup) or plan.table(source.parent).constant is None


def put(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Put every follower in its place."""
    found = list(followers(plan, original))
    if found:
        yield Step(
            what="the guard's notes of moved rows",
            statement=STATEMENTS.create_moves.compose(),
            lock="none",
            done=lambda live: _MOVES in live.sequences,
            how=How.PLAIN,
        )
    for one in found:
        yield from _put(one, original)


def drop(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Take every follower away."""
    for one in followers(plan, original):
        for trigger in _triggers(one):
            yield _drop_trigger(one.leader, trigger, qualified(one.leader))
        yield Step(
            what=f"{one.table.name}: drop what follows {one.leader}",
            statement=STATEMENTS.drop_function.compose(function=one.function),
            lock="none",
            done=lambda live, one=one: not _has(live.functions, one.name),  # type: ignore[misc]
            how=How.PLAIN,
        )


def drop_of_departed(was: Table, live: Catalog) -> Iterator[Step]:
    """Take away what followed for a table that is gone, and that the plan says nothing of any more."""
    for function in live.functions:
        schema, name = split_name(function)
        if schema != names.GUARD_SCHEMA or not names.is_follower(name, was):
            continue
        for trigger in (names.follow_trigger(name), names.follow_trigger_of_new(name)):
            ending = f" {sql.Identifier(trigger).as_string()}"
            for one in live.triggers:
                if one.endswith(ending):
                    table = one.removesuffix(ending)
                    yield _drop_trigger(table, trigger, qualified(table))
        yield Step(
            what=f"drop {function}",
            statement=STATEMENTS.drop_function.compose(function=sql.Identifier(schema, name)),
            lock="none",
            done=lambda now, function=function: function not in now.functions,  # type: ignore[misc]
            how=How.PLAIN,
        )


def drop_notes() -> Step:
    """Drop the notes, unless another migration's guard writes there.

    Whatever the plan says: a table that followed may have left it.
    """
    return Step(
        what="drop the guard's notes of moved rows",
        statement=STATEMENTS.drop_moves.compose(),
        lock="none",
        done=_notes_gone_or_used,
        how=How.PLAIN,
    )


def settle(ground: Ground, stage: str) -> None:
    """Give rows their tenants that were written while others moved; wait for whoever may write such a row.

    Raises:
        CancelledError: the migration is cancelled.
    """
    begun, told = time.monotonic(), False
    while left := settled(ground.connection, ground.plan, ground.original):
        if not told and time.monotonic() - begun > TELL_AFTER:
            ground.notify(f"{stage}: {left} rows changed their tenant; waiting for who may not have seen it")
            told = True
        go_on(ground, stage)
        time.sleep(POLL)


def settled(connection: Connection, plan: Plan, original: Catalog) -> int:
    """Do so as far as no transaction can still write such a row; how many moves are left to look after."""
    found = list(followers(plan, original))
    if not found or not guard.has_moves(connection):
        return 0
    for one in found:
        guard.settle(
            connection,
            one.was.identifier,
            follower=one.name,
            column=plan.tenant.column,
            value=one.value,
            named=_named(one),
        )
    return guard.unsettled(connection, [one.name for one in found])


def _put(one: Follower, original: Catalog) -> Iterator[Step]:
    refuses = one.plan.tenant.moves == "refuse"
    statement = STATEMENTS.create_refuse_function if refuses else STATEMENTS.create_follow_function
    theirs = list(one.source.on.values())
    path = dict.fromkeys(["pg_catalog", *original.search_path, one.was.schema_, "pg_temp"])
    sequence = sql.Identifier(names.GUARD_SCHEMA, names.guard(one.was))
    more: dict[str, sql.Composable] = {
        "sequence": sql.Literal(sequence.as_string()),
        "follower": sql.Literal(one.name),
        "key": sql.SQL("ARRAY[{}]::text[]").format(
            sql.SQL(", ").join(sql.SQL("NEW.{}::text").format(sql.Identifier(name)) for name in theirs)
        ),
    }
    if refuses:
        rows = (
            f"rows of {one.table.name} belong to another tenant than what tells theirs in {one.leader} would"
        )
        more = {"refused": sql.Literal(rows)}
    yield Step(
        what=f"{one.table.name}: what follows {one.leader}",
        statement=statement.compose(
            function=one.function,
            search_path=sql.SQL(", ").join(map(sql.Identifier, path)),
            table=one.was.identifier,
            column=sql.Identifier(one.plan.tenant.column),
            value=one.value,
            named=sql.SQL("(({}) OR ({}))").format(_of(one, "NEW"), _of(one, "OLD")),
            **more,
        ),
        lock="none",
        done=lambda live: _has(live.functions, one.name),
        how=How.PLAIN,
    )
    yield _put_trigger(
        one,
        _changes(one),
        STATEMENTS.create_follow_trigger.compose(
            trigger=sql.Identifier(_changes(one)),
            table=qualified(one.leader),
            changed=_changed(one),
            function=one.function,
        ),
    )
    if not _comes_first(one):
        yield _put_trigger(
            one,
            _news(one),
            STATEMENTS.create_follow_trigger_of_new.compose(
                trigger=sql.Identifier(_news(one)), table=qualified(one.leader), function=one.function
            ),
        )


def _put_trigger(one: Follower, trigger: str, statement: sql.Composed) -> Step:
    return Step(
        what=f"{one.leader}: {one.table.name} follows it",
        statement=statement,
        lock="SHARE ROW EXCLUSIVE",
        done=lambda live: _calls(live, trigger),
        tables=(qualified(one.leader),),
    )


def _drop_trigger(leader: str, trigger: str, table: sql.Identifier) -> Step:
    return Step(
        what=f"{leader}: drop {trigger}",
        statement=STATEMENTS.drop_trigger.compose(trigger=sql.Identifier(trigger), table=table),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: not _calls(live, trigger),
        tables=(table,),
    )


def _triggers(one: Follower) -> tuple[str, ...]:
    return (_changes(one),) if _comes_first(one) else (_changes(one), _news(one))


def _changes(one: Follower) -> str:
    return names.follow_trigger(one.name)


def _news(one: Follower) -> str:
    return names.follow_trigger_of_new(one.name)


def _comes_first(one: Follower) -> bool:
    """Whether a row is never there before the one that tells its tenant: a foreign key sees to it at once."""
    pairs = set(one.source.on.items())
    return any(
        set(zip(key.columns, key.target_columns, strict=True)) == pairs and not key.deferrable
        for key in one.was.foreign_keys
    )


def _changed(one: Follower) -> sql.Composed:
    """Another key, or another tenant; but not the first one, from a batch: its children have none yet."""
    told = sql.Identifier(one.told_by)
    other = sql.SQL("OLD.{column} IS DISTINCT FROM NEW.{column}").format(column=told)
    sentinel = one.plan.tenant.sentinel_value
    if isinstance(one.source, Parent):
        first = sql.SQL("OLD.{} IS DISTINCT FROM {}").format(told, literal(sentinel))
        other = sql.SQL("({} AND {})").format(other, first)
    moved = [
        sql.SQL("OLD.{name} IS DISTINCT FROM NEW.{name}").format(name=sql.Identifier(name))
        for name in one.source.on.values()
    ]
    return sql.SQL(" OR ").join([other, *moved])


def _of(one: Follower, row: str) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("t.{} = {}.{}").format(sql.Identifier(ours), sql.SQL(row), sql.Identifier(theirs))
        for ours, theirs in one.source.on.items()
    )


def _named(one: Follower) -> sql.Composed:
    """Whether a row called `t` is one of those that a note is about."""
    return sql.SQL(" AND ").join(
        sql.SQL("t.{} = settled.key[{}]::{}").format(
            sql.Identifier(ours), sql.Literal(at + 1), sql.SQL(column.type)
        )
        for at, ours in enumerate(one.source.on)
        if (column := one.was.column(ours)) is not None
    )


def _has(owned: tuple[str, ...], name: str) -> bool:
    return f"{names.GUARD_SCHEMA}.{sql.Identifier(name).as_string()}" in owned


def _calls(live: Catalog, trigger: str) -> bool:
    return any(one.endswith(f" {sql.Identifier(trigger).as_string()}") for one in live.triggers)


def _notes_gone_or_used(live: Catalog) -> bool:
    prefix = f"{names.GUARD_SCHEMA}."
    return _MOVES not in live.sequences or any(name.startswith(prefix) for name in live.functions)
