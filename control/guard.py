"""The write guard: rows written by code that does not know the tenant column get their tenant all the same.

Where every row has the same tenant the guard is the column's default. Where the tenant is derived the default
is the sentinel, and a trigger replaces it by what the plan's source says, counting each use. On a partitioned
table both stand on the parent, and the server gives them to every partition, one that comes later too.

When it goes. Old code is gone once `application` is confirmed, but a confirmation is a person's word and
one old process may still be running. So trigger and default outlive the keys and go in `verify`, together,
when nothing has needed them for the quiet time. They must go together: the trigger looks for the sentinel,
which only the default puts there, so without the default the guard is blind, and without the guard a default
of `''` writes rows that belong to nobody. The default goes first, so that in the moment between the two an
insert without a tenant fails (the column is NOT NULL) instead of leaving such a row.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from psycopg import sql

from control import following, names
from control.jobs import rules_of
from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.stage import Ground, How, Step
from sql.postgres import guard
from sql.postgres.catalog import verbatim
from sql.postgres.columns import STATEMENTS as COLUMNS
from sql.postgres.connection import Connection, literal
from sql.postgres.facts import Catalog, Column, Table
from sql.postgres.guard import STATEMENTS
from sql.postgres.source import source_sql, unfilled
from sql.tenant_source import Expression, chain

_WITHOUT_EQUALITY = frozenset({"json", "xml", "point", "polygon"})


def put(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Put the guard in its place: the defaults, then the triggers. What undoing `verify` begins with."""
    for table in plan.tables:
        yield starting_default(plan, table, original.table(table.name))
    yield from triggers(plan, original)


def retire(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Take the guard away for good: the column's default as the plan wants it, then the triggers."""
    for table in plan.tables:
        yield _final_default(plan, table, original.table(table.name))
    yield from drop(plan, original)


def uses(connection: Connection, plan: Plan, original: Catalog) -> dict[str, int]:
    """How often the guard of each table with a derived tenant was needed since it was put there.

    A rolled-back insert counts too. Tables without a guard, for a constant tenant or because it was retired,
    are not in it: nothing counts the uses of a default.
    """
    counted = guard.uses(connection)
    return {
        table.name: counted[name]
        for table in _derived(plan)
        if (name := names.guard(original.table(table.name))) in counted
    }


def start(plan: Plan, table: PlanTable) -> str | None:
    """What the column's default is while old code may write: the constant, or else the sentinel."""
    return plan.tenant.sentinel_value if table.constant is None else table.constant


def starting_default(plan: Plan, table: PlanTable, was: Table) -> Step:
    """The default that old code needs."""
    return _default(plan, table, was, start(plan, table))


def default_of_sentinel(plan: Plan, table: PlanTable, was: Table) -> Step:
    """The default of a column that stays without a migration: no tenant."""
    return _default(plan, table, was, plan.tenant.sentinel_value)


def original_default(plan: Plan, table: PlanTable, was: Table, column: Column) -> Iterator[Step]:
    """The default that the column had before the migration, and each partition's, whatever they were."""
    yield Step(
        what=f"{table.name}: default of {column.name} as it was",
        statement=_default_statement(plan, was, _verbatim_default(column)),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: _column(plan, table, live) == column,
        tables=(was.identifier,),
    )
    # The step above sets it on every partition, on those too that had one of their own.
    for leaf in was.partitions:
        own = leaf.column(column.name)
        if own is not None and own.default != column.default:
            yield Step(
                what=f"{table.name}: default of {column.name} of its partition {leaf.name} as it was",
                statement=_default_statement(plan, leaf, _verbatim_default(own)),
                lock="ACCESS EXCLUSIVE",
                done=partial(_as_it_was, table.name, leaf, own),
                tables=(leaf.identifier,),
            )


def triggers(plan: Plan, original: Catalog) -> Iterator[Step]:
    """The guard of every table with a derived tenant; each trigger in a transaction of its own.

    Not in a maintenance window, where nobody writes.
    """
    for step in _triggers(plan, original):
        yield replace(step, gate=_beside_writers)


def _beside_writers(ground: Ground) -> bool:
    return not ground.window


def _triggers(plan: Plan, original: Catalog) -> Iterator[Step]:
    if _derived(plan):
        yield Step(
            what=f"schema {names.GUARD_SCHEMA}",
            statement=STATEMENTS.create_schema.compose(),
            lock="none",
            done=lambda live: names.GUARD_SCHEMA in live.schemas,
            how=How.PLAIN,
        )
    for table in _derived(plan):
        yield _put_sequence(table, original)
    # Before the guards, which give tenants: where a parent moves before its follower stands, its rows stay.
    yield from following.put(plan, original)
    for table in _derived(plan):
        yield from _put_trigger(plan, table, original)


def drop(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Triggers, functions, sequences; the schema too unless another migration has guards there."""
    yield from following.drop(plan, original)
    for table in _derived(plan):
        yield from _drop_trigger(table, original)
    if _derived(plan):
        yield following.drop_notes()
        yield Step(
            what=f"drop schema {names.GUARD_SCHEMA}",
            statement=STATEMENTS.drop_schema.compose(),
            lock="none",
            done=_schema_gone_or_used,
            how=How.PLAIN,
        )


def _derived(plan: Plan) -> list[PlanTable]:
    return [table for table in plan.tables if table.constant is None]


def _put_sequence(table: PlanTable, original: Catalog) -> Step:
    name = names.guard(original.table(table.name))
    sequence = sql.Identifier(names.GUARD_SCHEMA, name)
    return Step(
        what=f"{table.name}: the sequence that counts its guard's uses",
        statement=STATEMENTS.create_sequence.compose(sequence=sequence),
        lock="none",
        done=lambda live: names.is_among(live.sequences, name),
        how=How.PLAIN,
    )


def _put_trigger(plan: Plan, table: PlanTable, original: Catalog) -> Iterator[Step]:
    was = original.table(table.name)
    name, ours = names.guard(was), sql.Identifier(names.GUARD_SCHEMA, names.guard(was))
    source = source_sql(plan.source_of(table), rules_of(plan, table, walks=False))
    # Names without a schema mean what they mean in the operator's session; temporary tables, which any
    # session could put in front, come last.
    path = dict.fromkeys(["pg_catalog", *original.search_path, was.schema_, "pg_temp"])
    function = STATEMENTS.create_function.compose(
        function=ours,
        sequence=sql.Literal(ours.as_string()),
        search_path=sql.SQL(", ").join(map(sql.Identifier, path)),
        column=sql.Identifier(plan.tenant.column),
        value=source.value,
        joined=sql.SQL("") if source.tables is None else sql.SQL(", {}").format(source.tables),
        resolved=source.resolved,
        kept=following.kept_by(plan, table, was),
    )
    yield Step(
        what=f"{table.name}: the guard's function",
        statement=function,
        lock="none",
        done=lambda live: names.is_among(live.functions, name),
        how=How.PLAIN,
    )
    # Before the guard of new rows: one that has its tenant and then changes is looked at by nobody else.
    watched = _watched(table, was)
    if watched:
        yield Step(
            what=f"{table.name}: the guard of changes",
            statement=STATEMENTS.create_trigger_of_changes.compose(
                trigger=sql.Identifier(names.GUARD_TRIGGER_OF_CHANGES),
                table=was.identifier,
                of_columns=_of_columns(was, watched),
                column=sql.Identifier(plan.tenant.column),
                changed=sql.SQL("({})").format(sql.SQL(" OR ").join(map(_changes, watched))),
                function=ours,
            ),
            lock="SHARE ROW EXCLUSIVE",
            done=lambda live: live.table(table.name).trigger(names.GUARD_TRIGGER_OF_CHANGES) is not None,
            tables=(was.identifier,),
        )
    yield Step(
        what=f"{table.name}: the guard",
        statement=STATEMENTS.create_trigger.compose(
            trigger=sql.Identifier(names.GUARD_TRIGGER),
            table=was.identifier,
            unfilled=unfilled(plan.tenant.column, plan.tenant.sentinel_value, row="NEW"),
            function=ours,
        ),
        lock="SHARE ROW EXCLUSIVE",
        done=lambda live: live.table(table.name).trigger(names.GUARD_TRIGGER) is not None,
        tables=(was.identifier,),
    )


def _watched(table: PlanTable, was: Table) -> list[Column]:
    """The columns that tell a row's tenant. Of an expression those that it may name: rather too many."""
    named: set[str] = set()
    for source in chain(table.tenant):
        if isinstance(source, Expression):
            named |= _named_in(source.expression, was)
        else:
            named |= set(getattr(source, "on", {}))
    # A generated one has no value yet when the trigger asks; what it is made of is named in its place.
    return [column for column in was.columns if column.name in named and not column.generated]


def _named_in(expression: str, was: Table) -> set[str]:
    words = {word.lower() for word in re.findall(r"\w+", expression)}
    everything = {"t", was.name.lower()} & words
    return {c.name for c in was.columns if everything or set(re.findall(r"\w+", c.name.lower())) <= words}


def _of_columns(was: Table, watched: list[Column]) -> sql.Composable:
    """UPDATE OF, or none: what another trigger sets beside the statement would not be one of these."""
    if any(trigger.on_update and trigger.each_row for trigger in was.triggers):
        return sql.SQL("")
    return sql.SQL("OF {}").format(sql.SQL(", ").join(sql.Identifier(column.name) for column in watched))


def _changes(column: Column) -> sql.Composed:
    # What reads the same is the same for a source.
    text = sql.SQL("::text" if column.type in _WITHOUT_EQUALITY else "")
    return sql.SQL("OLD.{name}{text} IS DISTINCT FROM NEW.{name}{text}").format(
        name=sql.Identifier(column.name), text=text
    )


def _drop_trigger(table: PlanTable, original: Catalog) -> Iterator[Step]:
    was = original.table(table.name)
    triggers = {names.GUARD_TRIGGER: "the guard"}
    if _watched(table, was):
        triggers[names.GUARD_TRIGGER_OF_CHANGES] = "the guard of changes"
    for trigger, what in triggers.items():
        yield Step(
            what=f"{table.name}: drop {what}",
            statement=STATEMENTS.drop_trigger.compose(trigger=sql.Identifier(trigger), table=was.identifier),
            lock="ACCESS EXCLUSIVE",
            done=partial(_is_gone, table.name, trigger),
            tables=(was.identifier,),
        )
    yield from drop_function(table.name, was)


def drop_function(table: str, was: Table) -> Iterator[Step]:
    """What the guard has beside its trigger, and what stays when the table is dropped with that."""
    name, ours = names.guard(was), sql.Identifier(names.GUARD_SCHEMA, names.guard(was))
    yield Step(
        what=f"{table}: drop the guard's function",
        statement=STATEMENTS.drop_function.compose(function=ours),
        lock="none",
        done=lambda live: not names.is_among(live.functions, name),
        how=How.PLAIN,
    )
    yield Step(
        what=f"{table}: drop the sequence that counted its guard's uses",
        statement=STATEMENTS.drop_sequence.compose(sequence=ours),
        lock="none",
        done=lambda live: not names.is_among(live.sequences, name),
        how=How.PLAIN,
    )


def _final_default(plan: Plan, table: PlanTable, was: Table) -> Step:
    return _default(plan, table, was, None if plan.tenant.default == "none" else plan.tenant.default)


def _default(plan: Plan, table: PlanTable, was: Table, value: str | None) -> Step:
    said = "no default" if value is None else f"default {value!r}"
    return Step(
        what=f"{table.name}: {said} for {plan.tenant.column}",
        statement=_default_statement(plan, was, None if value is None else literal(value)),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: _defaults_to(plan, table, live, value),
        tables=(was.identifier,),
    )


def _default_statement(plan: Plan, was: Table, default: sql.Composable | None) -> sql.Composed:
    column = sql.Identifier(plan.tenant.column)
    if default is None:
        return COLUMNS.drop_default.compose(table=was.identifier, column=column)
    return COLUMNS.set_default.compose(table=was.identifier, column=column, default=default)


def _defaults_to(plan: Plan, table: PlanTable, live: Catalog, value: str | None) -> bool:
    """Whether that is the default, in every partition too: a row may be written into one by its own name."""
    found = live.table(table.name)
    return all(_has_default(part.column(plan.tenant.column), value) for part in (found, *found.partitions))


def _has_default(column: Column | None, value: str | None) -> bool:
    if column is None:
        return False
    return column.default is None if value is None else column.default_text == value


def _verbatim_default(column: Column) -> sql.SQL | None:
    return None if column.default is None else verbatim(column.default)


def _as_it_was(name: str, leaf: Table, column: Column, live: Catalog) -> bool:
    """Whether a partition's column is as it was, or the partition is gone: dropped, or detached."""
    now = next((p for p in live.table(name).partitions if p.oid == leaf.oid), None)
    return now is None or now.column(column.name) == column


def _column(plan: Plan, table: PlanTable, live: Catalog) -> Column | None:
    return live.table(table.name).column(plan.tenant.column)


def _is_gone(table: str, trigger: str, live: Catalog) -> bool:
    return live.table(table).trigger(trigger) is None


def _schema_gone_or_used(live: Catalog) -> bool:
    prefix = f"{names.GUARD_SCHEMA}."
    used = any(name.startswith(prefix) for name in (*live.functions, *live.sequences))
    return names.GUARD_SCHEMA not in live.schemas or used
