"""What keeps tenants right while old code moves rows: what told a tenant has another, and the rows follow.

Each source that reads another table has a follower: a function in the guard's schema, called by triggers of
that table. It gives the rows in question the tenant that their source tells now, or refuses the change where
the plan says so. A row that was written at the same moment, in a transaction that saw the old tenant, isn't
among them: the follower leaves a note of each move, and `settle` looks again once those transactions end.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from psycopg import sql

from control import names
from control.course import go_on
from control.jobs import rules_of
from control.names import Event
from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.stage import Ground, How, Step
from sql.postgres import catalog, guard
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog, ForeignKey, Table
from sql.postgres.guard import STATEMENTS
from sql.postgres.source import kept, tenant_of, unfilled
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
    search_path: tuple[str, ...]
    """Where a name without a schema is looked for."""

    @property
    def name(self) -> str:
        """What its function is called, and its notes."""
        # Two sources of one table may read the same other one: by another key, or another column of it.
        return names.follower(self.was, self.leader, (*self.source.on.items(), self.told_by))

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
        """The tenant of a row called `t`: what is told, or where nothing is told what it keeps."""
        return sql.SQL("coalesce({}, {})").format(self._told, kept_by(self.plan, self.table, self.was))

    @property
    def _told(self) -> sql.Composable:
        return tenant_of(self.plan.source_of(self.table), rules_of(self.plan, self.table, walks=False))

    def refusal(self, named: sql.Composable) -> sql.Composable:
        """What refuses a change that takes `named` rows to another tenant, where the plan says so."""
        tenant = self.plan.tenant
        if tenant.moves != "refuse":
            return sql.SQL("")
        rows, other = f"rows of {self.table.name}", f"what tells theirs in {self.leader}"
        refuse = STATEMENTS.refuse.compose(
            table=self.was.identifier,
            named=named,
            column=sql.Identifier(tenant.column),
            told=self._told,
            unfilled=unfilled(tenant.column, tenant.sentinel_value),
            refused=sql.Literal(f"{rows} belong to another tenant than {other} would"),
        )
        return sql.SQL("{};").format(refuse)

    @property
    def is_tree(self) -> bool:
        """Whether its rows tell each other."""
        return self.leader == self.table.name

    @property
    def references(self) -> ForeignKey | None:
        """The foreign key that sees to it that there is a row that tells, if one does."""
        pairs = set(self.source.on.items())
        return next(
            (
                key
                for key in self.was.foreign_keys
                if set(zip(key.columns, key.target_columns, strict=True)) == pairs
                and key.validated
                and key.enforced
                and self._is_leader(key.target_schema, key.target)
            ),
            None,
        )

    @property
    def never_waits(self) -> bool:
        """Whether no transaction can leave a row behind that names one which isn't there yet."""
        return self.references is not None and not self.references.deferrable

    def _is_leader(self, schema: str, table: str) -> bool:
        # Of two tables of one name that without a schema is the one in the first: more triggers than needed
        # stand where the other is meant.
        *given, name = split_name(self.leader)
        return table == name and schema == (given[0] if given else next(iter(self.search_path), None))

    @property
    def events(self) -> tuple[Event, ...]:
        """What happens to a row of the other table that may change the tenants of these."""
        found: list[Event] = []
        if self._may_change:
            found.append("changes")
        # A foreign key is looked at when the statement ends, and one statement may write a tree from below.
        if not self.never_waits or self.is_tree:
            found.append("news")
        if self._told_by_another and self.references is None:
            found.append("ends")
        return tuple(found)

    @property
    def _may_change(self) -> bool:
        """Whether what tells may: the rows of a table with a constant tenant all have that."""
        return self.has_tenants_of_its_own or self.references is None

    @property
    def has_tenants_of_its_own(self) -> bool:
        """Whether the rows of the other table may belong to different tenants."""
        return isinstance(self.source, Lookup) or self.plan.table(self.source.parent).constant is None

    @property
    def _told_by_another(self) -> bool:
        """Whether something is asked after it."""
        return self.source.otherwise is not None


def kept_by(plan: Plan, table: PlanTable, was: Table) -> sql.Composable:
    """What a row called `t` has for which the guard is told nothing.

    Never no tenant where the application had the column before: its own constraints and queries know it.
    """
    if was.column(plan.tenant.column) is not None:
        return sql.SQL("t.{}").format(sql.Identifier(plan.tenant.column))
    return kept(plan.source_of(table), rules_of(plan, table))


def followers(plan: Plan, original: Catalog) -> Iterator[Follower]:
    """List those of a plan."""
    for table in plan.tables:
        for source in chain(plan.source_of(table)):
            if isinstance(source, Lookup | Parent):
                one = Follower(plan, table, original.table(table.name), source, original.search_path)
                if one.events:
                    yield one


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
        for event in one.events:
            trigger = names.follow_trigger(one.name, event)
            yield _drop_trigger(one.leader, trigger, qualified(one.leader))
        yield Step(
            what=f"{one.table.name}: drop what follows {one.leader}",
            statement=STATEMENTS.drop_function.compose(function=one.function),
            lock="none",
            done=lambda live, one=one: not names.is_among(live.functions, one.name),  # type: ignore[misc]
            how=How.PLAIN,
        )


def drop_of_departed(was: Table, live: Catalog) -> Iterator[Step]:
    """Take away what followed for a table that is gone, and that the plan says nothing of any more."""
    for function in live.functions:
        schema, name = split_name(function)
        if schema != names.GUARD_SCHEMA or not names.is_follower(name, was):
            continue
        for event in get_args(Event):
            trigger = names.follow_trigger(name, event)
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
    found = {one.name: one for one in followers(plan, original)}
    if not found or not guard.has_moves(connection) or not guard.unsettled(connection, list(found)):
        return 0
    leaders = catalog.read(connection, sorted({one.leader for one in found.values()})).tables
    for one in found.values():
        guard.settle(
            connection,
            one.was.identifier,
            follower=one.name,
            column=plan.tenant.column,
            value=one.value,
            named=_named(one, leaders[one.leader]),
        )
    return guard.unsettled(connection, list(found))


def _put(one: Follower, original: Catalog) -> Iterator[Step]:
    path = dict.fromkeys(["pg_catalog", *original.search_path, one.was.schema_, "pg_temp"])
    sequence = sql.Identifier(names.GUARD_SCHEMA, names.guard(one.was))
    column = sql.Identifier(one.plan.tenant.column)
    named = sql.SQL("(({}) OR ({}))").format(_of(one, "NEW"), _of(one, "OLD"))
    yield Step(
        what=f"{one.table.name}: what follows {one.leader}",
        statement=STATEMENTS.create_follow_function.compose(
            function=one.function,
            search_path=sql.SQL(", ").join(map(sql.Identifier, path)),
            follower=sql.Literal(one.name),
            # Where no row can be left behind, a new one is not noted: only its own statement has such.
            new_is_noted=sql.Literal(["UPDATE"] if one.never_waits else ["INSERT", "UPDATE"]),
            new=_key(one, "NEW"),
            old=_key(one, "OLD"),
            refused=one.refusal(named),
            table=one.was.identifier,
            column=column,
            value=one.value,
            named=named,
            sequence=sql.Literal(sequence.as_string()),
        ),
        lock="none",
        done=lambda live: names.is_among(live.functions, one.name),
        how=How.PLAIN,
    )
    for event in one.events:
        yield _put_trigger(one, event)


def _key(one: Follower, row: str) -> sql.Composed:
    """What rows name a row by, as the notes keep it."""
    columns = (
        sql.SQL("{}.{}::text").format(sql.SQL(row), sql.Identifier(name)) for name in one.source.on.values()
    )
    return sql.SQL("ARRAY[{}]::text[]").format(sql.SQL(", ").join(columns))


def _put_trigger(one: Follower, event: Event) -> Step:
    trigger, leader = names.follow_trigger(one.name, event), qualified(one.leader)
    given = {"trigger": sql.Identifier(trigger), "table": leader, "function": one.function}
    match event:
        case "changes":
            statement = STATEMENTS.create_follow_trigger.compose(changed=_changed(one), **given)
        case "news":
            statement = STATEMENTS.create_follow_trigger_of_new.compose(**given)
        case "ends":
            statement = STATEMENTS.create_follow_trigger_of_ends.compose(**given)
    return Step(
        what=f"{one.leader}: {one.table.name} follows it",
        statement=statement,
        lock="SHARE ROW EXCLUSIVE",
        done=lambda live: _calls(live, trigger),
        tables=(leader,),
    )


def _drop_trigger(leader: str, trigger: str, table: sql.Identifier) -> Step:
    return Step(
        what=f"{leader}: drop {trigger}",
        statement=STATEMENTS.drop_trigger.compose(trigger=sql.Identifier(trigger), table=table),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: not _calls(live, trigger),
        tables=(table,),
    )


def _changed(one: Follower) -> sql.Composed:
    """Another key, or another tenant; but not the first one, from a batch: its children have none yet."""
    told = sql.Identifier(one.told_by)
    moved = [
        sql.SQL("OLD.{name} IS DISTINCT FROM NEW.{name}").format(name=sql.Identifier(name))
        for name in one.source.on.values()
    ]
    if not one.has_tenants_of_its_own:
        return sql.SQL(" OR ").join(moved)
    other = sql.SQL("OLD.{column} IS DISTINCT FROM NEW.{column}").format(column=told)
    if isinstance(one.source, Parent):
        first = unfilled(one.plan.tenant.column, one.plan.tenant.sentinel_value, row="OLD")
        other = sql.SQL("({} AND (NOT {} OR {}))").format(other, first, guard.NOT_A_BATCH)
    return sql.SQL(" OR ").join([other, *moved])


def _of(one: Follower, row: str) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("t.{} = {}.{}").format(sql.Identifier(ours), sql.SQL(row), sql.Identifier(theirs))
        for ours, theirs in one.source.on.items()
    )


def _named(one: Follower, leader: Table) -> sql.Composed:
    """Whether a row called `t` is one of those that a note is about."""
    # Of the other's type, as the source compares them: what fits there may be too long for the row's own.
    return sql.SQL(" AND ").join(
        sql.SQL("t.{} = settled.key[{}]::{}").format(
            sql.Identifier(ours), sql.Literal(at + 1), sql.SQL(column.type)
        )
        for at, (ours, theirs) in enumerate(one.source.on.items())
        if (column := leader.column(theirs)) is not None
    )


def _calls(live: Catalog, trigger: str) -> bool:
    return any(one.endswith(f" {sql.Identifier(trigger).as_string()}") for one in live.triggers)


def _notes_gone_or_used(live: Catalog) -> bool:
    prefix = f"{names.GUARD_SCHEMA}."
    return _MOVES not in live.sequences or any(name.startswith(prefix) for name in live.functions)
