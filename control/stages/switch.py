"""The shared tables out of the way: whoever has no tenant in its search path finds no table any more.

Will do: rename the shared tables, hold off their triggers and let those of the tenants' tables fire, all in
one brief transaction; then tenant by tenant foreign keys and triggers as the originals'. Gate: every tenant
has its schema, and both sides are the same. Undoing: the same backwards. The shared tables are kept current
until they are dropped, so that nothing is lost; once an id exists in two tenants there is no way back.
"""

from collections.abc import Iterator

from psycopg import sql

from control.course import actor, go_on
from control.plan.model import Plan
from control.schemas import making, mirroring, naming, references
from control.schemas.comparing import differences
from control.schemas.naming import shared_name
from control.schemas.patterns import Patterns, patterns
from control.stage import Closed, Ground, Step
from control.stages.schemas import brief, in_state
from sql.postgres import schemas
from sql.postgres.facts import Catalog, Table, Trigger
from sql.postgres.schemas import MIRROR, STATEMENTS, Schema
from worker import audit

_ENABLED = {"origin": "ENABLE", "replica": "ENABLE REPLICA", "always": "ENABLE ALWAYS"}


class Switch:
    """The stage `switch`."""

    name = "switch"

    def gate(self, ground: Ground) -> Closed | None:
        """Closed while a tenant has no schema, or shared tables and copies differ."""
        if not schemas.mirrored(ground.connection):
            return Closed(("nothing keeps the tenants' tables current",), "`tenantry rollback --to backfill`")
        if schemas.switched(ground.connection):
            return None  # it was killed between the renaming and the last tenant
        facts = [
            f"{rows} rows were written for {tenant!r}, which has no schema"
            for tenant, rows in schemas.strays(ground.connection)
        ]
        there = schemas.schemas(ground.connection)
        facts += [f"{one.name} is not ready" for one in there if one.state in {"made", "referring"}]
        facts += differences(ground.plan, ground.connection, patterns(ground).named, there)
        return (
            Closed(naming.listed(facts), "`tenantry run` makes and fills what is missing") if facts else None
        )

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """The renaming."""
        yield _renaming(plan, original, away=True)

    def work(self, ground: Ground) -> None:
        """Tenant by tenant, tables as they are to stay."""
        found = patterns(ground)
        for schema in schemas.schemas(ground.connection):
            go_on(ground, self.name)
            _settle(ground, found, schema, back=False)

    def unwork(self, ground: Ground) -> None:
        """Tenant by tenant, tables as they are while mirrored."""
        if not schemas.mirrored(ground.connection):
            return
        found = patterns(ground)
        for schema in schemas.schemas(ground.connection):
            go_on(ground, self.name)
            _settle(ground, found, schema, back=True)

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """The names back."""
        yield _renaming(plan, original, away=False)

    def no_way_back(self, ground: Ground) -> Closed | None:
        """Once an id exists in two tenants, the shared table can't hold both; and once it is dropped."""
        if not schemas.mirrored(ground.connection):
            return _gone(ground)
        found = schemas.apart(ground.connection)
        if found is None:
            return None
        rows, named, tenant, key = found
        such = f"such as {key} of {named}, tenant {tenant!r}"
        return Closed(
            (f"{rows} rows have ids that another tenant has too, {such}",),
            "there is no way back that keeps them; the shared tables can be dropped",
        )


def _gone(ground: Ground) -> Closed | None:
    """Closed where neither the mirror is there nor the shared tables are by their names."""
    was = [(table.schema_, table.name) for table in ground.original.tables.values()]
    there = schemas.relations(ground.connection, was)
    facts = [f"{schema}.{name} is not there" for schema, name in was if f"{schema}.{name}" not in there]
    if not facts:
        return None
    return Closed(naming.listed(facts), "there is no way back once what serves it is dropped")


def _settle(ground: Ground, found: Patterns, schema: Schema, *, back: bool) -> None:
    """Bring one tenant's tables to what they are to be; the restricting keys are validated after."""
    during, after = ("returning", "valid") if back else ("settling", "settled")
    if schema.state == after or (back and schema.state in {"made", "referring"}):
        return
    if schema.state != during:
        changed = making.together(_changed(found, schema, during, back=back))
        brief(ground, changed, schema, "ACCESS EXCLUSIVE")
    for pattern in found.every:
        for statement in references.validate(schema.name, pattern):
            ground.connection.execute(statement)
    ground.connection.execute(in_state(schema, after))
    told = f"{schema.name} is {'as before the switch' if back else 'settled'}"
    audit.record(ground.connection, ground.migration, actor(), "schema", told)


def _changed(found: Patterns, schema: Schema, state: str, *, back: bool) -> Iterator[sql.Composed]:
    for pattern in found.every:
        table = sql.Identifier(schema.name, pattern.name)
        yield from references.settle(schema.name, pattern, found.inside, mirrored=back)
        for trigger in pattern.triggers:
            yield STATEMENTS.drop_trigger.compose(trigger=sql.Identifier(trigger.name), table=table)
            yield from making.application_trigger(table, pattern, trigger, held=back)
    yield in_state(schema, state)


def _renaming(plan: Plan, original: Catalog, *, away: bool) -> Step:
    tables = [original.table(table.name) for table in plan.tables]
    # First what every write to a tenant's table reads for the name of the shared one: whoever has read it is
    # through, who hasn't will read the new name. Without it a write that waited here found no table any more.
    locked = [mirroring.NAMES, *(sql.Identifier(t.schema_, _called(t, away=not away)) for t in tables)]
    return Step(
        what="the shared tables out of the way" if away else "the shared tables back",
        statement=making.together(_renamed(tables, away=away)),
        lock="ACCESS EXCLUSIVE",
        done=lambda live: all(
            live.table(table.name).name == (shared_name(was.name) if away else was.name)
            for table, was in zip(plan.tables, tables, strict=True)
        ),
        tables=tuple(locked),
    )


def _called(table: Table, *, away: bool) -> str:
    return shared_name(table.name) if away else table.name


def _renamed(tables: list[Table], *, away: bool) -> Iterator[sql.Composed]:
    if not away:
        yield MIRROR.refuse_apart.compose()
    for table in tables:
        now = sql.Identifier(table.schema_, _called(table, away=not away))
        for trigger in _applications(table):
            yield making.set_trigger(now, trigger.name, "DISABLE" if away else _ENABLED[trigger.fires])
        for key in table.foreign_keys:
            yield references.looked_at(now, key, mirrored=away)
        yield STATEMENTS.rename.compose(table=now, name=sql.Identifier(_called(table, away=away)))
    yield MIRROR.set_guards.compose(enabled=sql.SQL("DISABLE" if away else "ENABLE"))
    yield MIRROR.set_switched.compose(switched=sql.Literal(away))


def _applications(table: Table) -> list[Trigger]:
    return [trigger for trigger in table.triggers if trigger.enabled]


STAGE = Switch()
