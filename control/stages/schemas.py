"""A schema for each tenant, with tables like the shared ones, filled and from then on the same as those.

Will do: per tenant make its schema and tables in one transaction; put triggers on the shared tables; copy the
rows in batches; make and validate foreign keys; compare. Gate: tenants' ids that can be schemas, no edge from
tenant to tenant. Undoing: triggers off, then schema after schema; the shared tables were current all along.
"""

from collections.abc import Iterator
from typing import Literal, cast

import structlog
from psycopg import errors, sql
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from control import roles
from control.course import actor, go_on
from control.keys import crossing
from control.schemas import making, mirroring, naming, references
from control.schemas.comparing import differences
from control.schemas.copying import fill
from control.schemas.patterns import Patterns, forget, patterns
from control.stage import Closed, Ground, Step, WithoutStatements
from control.steps import take
from sql.errors import VerificationError
from sql.postgres import schemas
from sql.postgres.connection import literal
from sql.postgres.schemas import MIRROR, STATEMENTS, Schema
from worker import audit, jobs

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Tables in use are asked for 200 ms at a time; a writer that holds one for longer is left alone that long.
_ATTEMPTS = 30
#: How one tenant's tables are locked.
Mode = Literal["SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"]
_BUSY = (errors.LockNotAvailable, errors.DeadlockDetected)


class Schemas(WithoutStatements):
    """The stage `schemas`."""

    name = "schemas"

    def gate(self, ground: Ground) -> Closed | None:
        """Closed by ids that can't be schemas, by schemas of others, and by edges between tenants."""
        found = _tenants(ground)
        facts = list(naming.refused(ground.plan, found))
        ours = {schema.name for schema in schemas.schemas(ground.connection)}
        wanted = {naming.schema_of(tenant) for tenant in found if tenant} - ours
        facts += [
            f"there is a schema {name} already, and it is not ours"
            for name in sorted(schemas.taken(ground.connection, sorted(wanted)))
        ]
        if facts:
            return Closed(naming.listed(facts), "Rename those tenants or schemas, then `tenantry run`")
        return crossing.gate(ground)

    def work(self, ground: Ground) -> None:
        """Make, mirror, fill, refer, and compare.

        Raises:
            VerificationError: shared tables and copies differ.
            QuarantineError: rows could not be copied.
        """
        connection, found = ground.connection, patterns(ground)
        if not schemas.mirrored(connection):
            mirroring.put(connection, found.named, ground.plan.tenant.column, ground.original.search_path)
            roles.admit_to_copies(ground.plan, connection)
        _make(ground, found)
        take(_mirrored(found), ground, self.name)
        # Whoever was new before the triggers were there is looked for once more, and noted from now on.
        schemas.take_strays(connection)
        _make(ground, found)
        for table in ground.plan.in_order():
            fill(ground, table.name)
        _refer(ground, found)
        differing = list(differences(ground.plan, connection, found.named, schemas.schemas(connection)))
        if differing:
            raise VerificationError(list(naming.listed(differing)))

    def amended(self, ground: Ground) -> bool:
        """Whether rows were written for tenants without a schema."""
        return schemas.mirrored(ground.connection) and bool(schemas.strays(ground.connection))

    def unwork(self, ground: Ground) -> None:
        """Take triggers and schemas away; those of others stay."""
        connection = ground.connection
        if not schemas.mirrored(connection):
            return
        found = patterns(ground)
        take(_unmirrored(found), ground, self.name)
        for schema in schemas.schemas(connection):
            go_on(ground, self.name)
            dropped = making.drop(schema.tenant, schema.name, found.every)
            brief(ground, dropped, schema, "ACCESS EXCLUSIVE")
            audit.record(connection, ground.migration, actor(), "schema", f"{schema.name} is gone")
        connection.execute(MIRROR.drop_all.compose())
        jobs.forget_kind(connection, ground.migration, "copy")
        forget(ground)


def brief(ground: Ground, statement: sql.Composed, schema: Schema, mode: Mode) -> None:
    """Send what takes locks on one tenant's tables, again while somebody holds them.

    Raises:
        psycopg.errors.LockNotAvailable: somebody held them each time.
    """
    found = dict(patterns(ground).named)
    tables = [sql.Identifier(schema.name, found[table.name].name) for table in ground.plan.in_order()]
    lock = STATEMENTS.lock.compose(tables=sql.SQL(", ").join(tables), mode=sql.SQL(mode))
    for attempt in Retrying(
        retry=retry_if_exception_type(_BUSY),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(max=5),
        reraise=True,
    ):
        with attempt, ground.connection.transaction():
            ground.connection.execute(STATEMENTS.limits.compose())
            ground.connection.execute(lock)
            ground.connection.execute(statement)


def _tenants(ground: Ground) -> set[str | None]:
    """The tenants that have rows in any of the tables."""
    column = ground.plan.tenant.column
    tables = [table.identifier for table in ground.original.tables.values()]
    return {tenant for table in tables for tenant in schemas.tenants(ground.connection, table, column)}


def _make(ground: Ground, found: Patterns) -> None:
    connection = ground.connection
    there = {schema.tenant for schema in schemas.schemas(connection)}
    for tenant in sorted(cast("set[str]", _tenants(ground) - there)):
        go_on(ground, STAGE.name)
        connection.execute(making.make(tenant, found.named, ground.plan.tenant.column))
        told = f"{naming.schema_of(tenant)} is made for {tenant!r}"
        audit.record(connection, ground.migration, actor(), "schema", told)


def _refer(ground: Ground, found: Patterns) -> None:
    """Foreign keys of the tenants that are filled: made, then validated; and statistics for the planner."""
    connection = ground.connection
    for schema in schemas.schemas(connection):
        go_on(ground, STAGE.name)
        if schema.state == "made":
            referring = making.together(_references(found, schema))
            brief(ground, referring, schema, "SHARE ROW EXCLUSIVE")
        if schema.state in {"made", "referring"}:
            for pattern in found.every:
                for statement in references.validate(schema.name, pattern):
                    connection.execute(statement)
            tables = [sql.Identifier(schema.name, pattern.name) for pattern in found.every]
            connection.execute(STATEMENTS.analyze.compose(tables=sql.SQL(", ").join(tables)))
            connection.execute(in_state(schema, "valid"))


def _references(found: Patterns, schema: Schema) -> Iterator[sql.Composed]:
    for pattern in found.every:
        yield from references.add(schema.name, pattern, found.inside)
    yield in_state(schema, "referring")


def in_state(schema: Schema, state: str) -> sql.Composed:
    """Note how far a tenant's schema is."""
    return MIRROR.set_state.compose(tenant=literal(schema.tenant), state=sql.Literal(state))


def _mirrored(found: Patterns) -> Iterator[Step]:
    for named, pattern in found.named:
        for name, statement in mirroring.triggers_of_shared(named, pattern):
            yield Step(
                what=f"{named}: {name}, which keeps its tenants' tables as it is",
                statement=statement,
                lock="SHARE ROW EXCLUSIVE",
                done=lambda live, named=named, name=name: live.table(named).trigger(name) is not None,  # type: ignore[misc]
                tables=(pattern.identifier,),
            )


def _unmirrored(found: Patterns) -> Iterator[Step]:
    for named, pattern in found.named:
        for name in (mirroring.TRIGGER, mirroring.TRUNCATE_TRIGGER):
            yield Step(
                what=f"{named}: drop {name}",
                statement=MIRROR.drop_trigger.compose(trigger=sql.Identifier(name), table=pattern.identifier),
                lock="ACCESS EXCLUSIVE",
                done=lambda live, named=named, name=name: live.table(named).trigger(name) is None,  # type: ignore[misc]
                tables=(pattern.identifier,),
            )


STAGE = Schemas()
