"""Least privilege: three roles, and for each what it is granted and why, of the plan and the catalog at hand.

The controller alters tables, workers write the tenant into rows, the exporter reads the ledger. What the
controller makes itself (the ledger, schemas for functions of ours) it grants itself, in `admit` and in the
stages: a script that was run before can't, and it goes with a rollback.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, LiteralString

from psycopg import sql

from control.plan.model import Plan
from control.plan.sections import Roles
from control.schemas.mirroring import SCHEMA as MIRROR_SCHEMA
from sql.errors import GivenWrongError, PlanError
from sql.named import one_line
from sql.postgres import preflight, roles
from sql.postgres.connection import Connection
from sql.postgres.roles import STATEMENTS, OfDatabase, Relation
from sql.tenant_source import Expression, Lookup, chain

Who = Literal["controller", "worker", "exporter", "verifier"]

#: From here on a right to set a parameter can be granted.
_PARAMETERS = 150_000
_LOGIN, _NO_LOGIN = sql.SQL("LOGIN"), sql.SQL("NOLOGIN")


@dataclass(frozen=True, slots=True)
class Grant:
    """One statement of the script, for whom it is and why that role needs it."""

    who: Who
    why: str
    statement: sql.Composed

    @property
    def said(self) -> str:
        """The statement as a person reads it, without the tag that says where it stands."""
        return self.statement.as_string().partition(" */ ")[2].strip()


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the grants are written from."""

    plan: Plan
    named: Roles
    version: int
    database: OfDatabase
    relations: tuple[Relation, ...]
    functions: tuple[roles.Function, ...]
    tables: tuple[Relation, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", tuple(one for one in self.relations if one.ours))

    @property
    def under_policy(self) -> bool:
        return any(t.rls is not None for t in self.plan.tables) or any(t.row_security for t in self.tables)

    @property
    def holds_triggers(self) -> bool:
        return any(self.plan.holds_triggers(table) for table in self.plan.tables)

    @property
    def closed_schemas(self) -> list[str]:
        """Schemas of the tables, and of those that tell tenants, that not everybody may use."""
        return sorted({r.schema for r in self.relations if not r.schema_open and (r.ours or r.named)})


def admit(plan: Plan, connection: Connection) -> None:
    """Let the plan's roles into the ledger; a plan without `[roles]` has one role for everything.

    Raises:
        GivenWrongError: one of the roles isn't there.
    """
    if plan.roles is not None:
        roles.admit(connection, worker=plan.roles.worker, exporter=plan.roles.exporter)
        admit_to_guard(plan, connection)


def admit_to_guard(plan: Plan, connection: Connection) -> None:
    """Let the exporter read how often the write guard was needed; it is asked for once there is a guard."""
    if plan.roles is not None:
        roles.admit_to_guard(connection, exporter=plan.roles.exporter)


def admit_to_copies(plan: Plan, connection: Connection) -> None:
    """Let the workers call what copies rows to their tenants' tables, whose rights they need not have."""
    if plan.roles is not None:
        connection.execute(
            STATEMENTS.on_schema.compose(
                rights=sql.SQL("USAGE"),
                schema=sql.Identifier(MIRROR_SCHEMA),
                role=sql.Identifier(plan.roles.worker),
            )
        )


def grants(plan: Plan, connection: Connection, *, assign: bool) -> list[Grant]:
    """Every grant that this plan needs on this database; with `assign`, to move rows after `keys` too.

    Raises:
        GivenWrongError: the plan names no roles, or a superuser owns a table.
        PlanError: a table of the plan isn't there.
    """
    facts = _read(plan, connection)
    return [*_controller(facts), *_verifier(facts), *_worker(facts, assign=assign), *_exporter(facts)]


def writable_schemas(plan: Plan, connection: Connection) -> list[str]:
    """Schemas of the plan's tables in which everybody may create, workers too: `public` before 15."""
    return preflight.open_schemas(connection, {one.schema for one in _read(plan, connection).tables})


def script(plan: Plan, found: list[Grant], writable: Sequence[str] = ()) -> Iterator[str]:
    """The lines of a script for `psql -f`, by whoever may make roles; a second time it changes nothing."""
    name = one_line(plan.name)
    yield f"-- The roles of the migration {name}, for `psql -f` by a superuser: all of it or nothing."
    yield "-- A second time it changes nothing. The roles have no passwords yet: \\password ROLE gives one."
    yield "\\set ON_ERROR_STOP on"
    yield "BEGIN;"
    for grant in found:
        yield ""
        yield f"-- {grant.who}: {one_line(grant.why)}"
        yield f"{grant.said};"
    yield ""
    yield from (f"-- {one_line(note)}" for note in _notes(plan, writable))
    yield "COMMIT;"


def _notes(plan: Plan, writable: Sequence[str]) -> Iterator[str]:
    """What an operator has to see to: nothing in the catalog tells it, or others lean on it."""
    for schema in writable:
        named = sql.Identifier(schema).as_string()
        yield f"Everybody may create in {schema}, a worker too. GRANT CREATE on it to those that must, then:"
        yield f"REVOKE CREATE ON SCHEMA {named} FROM PUBLIC;"
    if plan.governor.query is not None:
        yield "The workers run `query` of [governor]: GRANT them SELECT on what it reads."
    if plan.verify.max_log_errors is not None:
        yield "The server's log is read for max_log_errors: GRANT pg_monitor, pg_read_server_files too."
    if plan.verify.role is None:
        yield "Isolation is tried as a role that is nobody: name one in [verify], and run this again."


def _read(plan: Plan, connection: Connection) -> _Facts:
    if plan.roles is None:
        raise GivenWrongError(
            "the plan names no roles: add a section [roles], an empty one for tenantry_controller, "
            "tenantry_worker and tenantry_exporter"
        )
    sources = [source for table in plan.tables for source in chain(table.tenant)]
    lookups = [source.lookup for source in sources if isinstance(source, Lookup)]
    names = [table.name for table in plan.tables]
    beside = [name for name in lookups if name not in names]
    relations = roles.relations(connection, names, beside, _held(plan))
    for at, name in enumerate(names):
        if name not in {one.named for one in relations}:
            raise _missing(plan, at, name)
    powerful = [one for one in relations if one.owner_is_superuser]
    if powerful:
        told = ", ".join(one.identifier.as_string() for one in powerful)
        raise GivenWrongError(
            f"the superuser {powerful[0].owner} owns {told}: who acts for a superuser may do everything. "
            "ALTER TABLE … OWNER TO a role without rights of its own, then again"
        )
    ours = [one for one in relations if one.ours]
    expressions = [source.expression for source in sources if isinstance(source, Expression)]
    return _Facts(
        plan=plan,
        named=plan.roles,
        version=connection.info.server_version,
        database=roles.of_database(connection),
        relations=tuple(relations),
        functions=tuple(roles.closed_functions(connection, ours, expressions)),
    )


def _held(plan: Plan) -> list[str]:
    """The roles that the plan's policies are for, where they are not for everybody."""
    return sorted({held for table in plan.tables if table.rls is not None for held in table.rls.roles})


def _missing(plan: Plan, at: int, name: str) -> PlanError:
    return plan.wrong(f"there is no table {name!r} in this database", "tables", at, "name")


def _made(facts: _Facts, who: Who, role: str) -> Iterator[Grant]:
    """What every role that logs in begins with."""
    yield Grant(who, "a login of its own", STATEMENTS.make.compose(role=sql.Identifier(role), login=_LOGIN))
    if not facts.database.open:
        yield _on_database(facts, who, role, "CONNECT", "not everybody may connect to this database")


def _controller(facts: _Facts) -> Iterator[Grant]:
    role = facts.named.controller
    yield from _made(facts, "controller", role)
    why = "the ledger, the write guard and the policies' functions stand in schemas of their own"
    yield _on_database(facts, "controller", role, "CREATE", why)
    yield from _as_owner(facts, role)
    if facts.under_policy:
        why = "checks, validation and rollback see every row, whatever policy is on it"
        yield _past_policies("controller", role, why)
    why = "who is in the way of a lock, which standbys stream: of others' sessions nothing is seen without"
    yield _member("controller", role, "pg_read_all_stats", why)
    if facts.version >= _PARAMETERS:
        yield from _parameters_of_controller(facts, role)
    if facts.plan.locks.terminate_after is not None:
        why = "terminate_after of [locks] ends sessions of other roles"
        yield _member("controller", role, "pg_signal_backend", why)
    if facts.plan.backup is not None:
        why = "pg_dump reads every table of the database"
        yield _member("controller", role, "pg_read_all_data", why)


def _as_owner(facts: _Facts, role: str) -> Iterator[Grant]:
    """What it takes to alter the tables; and what their owner can't, though the migration must."""
    for owner in sorted({one.owner for one in facts.relations} - {role}):
        owned = [one.identifier.as_string() for one in facts.relations if one.owner == owner]
        yield _member("controller", role, owner, f"only an owner may alter {', '.join(owned)}")
    for schema in sorted({one.schema for one in facts.tables if not one.owner_creates}):
        why = "an index is made by whoever may create in its table's schema, and the tables' owner may not"
        yield _on_schema("controller", role, schema, "CREATE", why)
    for function in facts.functions:
        if not function.owner_runs:
            why = "the tables or the plan run it, and the tables' owner may not"
            yield _on_function("controller", role, function.signature, why)


def _parameters_of_controller(facts: _Facts, role: str) -> Iterator[Grant]:
    strict = any(t.rls is not None and t.rls.mode == "strict" for t in facts.plan.tables)
    if strict and not facts.database.counts_functions:
        why = "unscoped access is counted by the calls of a function that has this set"
        yield _on_parameter("controller", role, "track_functions", why)
    if facts.holds_triggers:
        why = 'user_triggers = "hold": preflight tries whether it may be set'
        yield _on_parameter("controller", role, "session_replication_role", why)


def _verifier(facts: _Facts) -> Iterator[Grant]:
    """Whom the plan names to try isolation by: nobody logs in as it, the controller becomes it."""
    role = facts.plan.verify.role
    if role is None:
        return
    made = STATEMENTS.make.compose(role=sql.Identifier(role), login=_NO_LOGIN)
    yield Grant("verifier", "[verify] tries isolation as this role; nobody logs in as it", made)
    for schema in sorted({one.schema for one in facts.tables if not one.schema_open}):
        yield _on_schema("verifier", role, schema, "USAGE", "not everybody may use this schema")
    for table in facts.tables:
        # Whom policies hold has these rights as a rule, and the role gets them by being a member.
        if table.named is not None and not table.held_write:
            why = "every kind of access is tried, and rolled back"
            yield _on_table("verifier", role, table, "SELECT, INSERT, UPDATE, DELETE", why)
    for function in facts.functions:
        if function.by_tables:
            yield _on_function("verifier", role, function.signature, "a row that is tried runs it")
    for held in _held(facts.plan):
        yield _member("verifier", role, held, "the policies are for this role")
    yield _member("controller", facts.named.controller, role, "it becomes the role by SET ROLE")


def _worker(facts: _Facts, *, assign: bool) -> Iterator[Grant]:
    role = facts.named.worker
    yield from _made(facts, "worker", role)
    for schema in facts.closed_schemas:
        yield _on_schema("worker", role, schema, "USAGE", "not everybody may use this schema")
    yield from _tables_of_worker(facts, role, assign=assign)
    for function in facts.functions:
        why = "an update of the tables runs it, or an expression of the plan does"
        yield _on_function("worker", role, function.signature, why)
    if facts.under_policy:
        yield _past_policies("worker", role, "a batch must see the rows that have no tenant yet")
    why = "the governor looks at others' transactions, lock waits and standbys"
    yield _member("worker", role, "pg_read_all_stats", why)
    if facts.database.archives:
        why = "the governor counts the WAL files that wait to be archived"
        yield _on_function("worker", role, sql.SQL("pg_catalog.pg_ls_archive_statusdir()"), why)
    if facts.holds_triggers and facts.version >= _PARAMETERS:
        why = 'user_triggers = "hold": a batch holds the tables\' triggers off'
        yield _on_parameter("worker", role, "session_replication_role", why)


def _tables_of_worker(facts: _Facts, role: str, *, assign: bool) -> Iterator[Grant]:
    for table in facts.tables:
        if table.kind != "p":
            why = "a batch finds rows and writes their tenant"
            yield _on_table("worker", role, table, "SELECT, UPDATE", why)
        elif table.named is not None:
            why = "rows of other tables are told their tenant by it; its partitions are written one by one"
            yield _on_table("worker", role, table, "SELECT", why)
        if assign and table.pointed_to:
            why = "`tenants assign` after `keys`: rows that others point to are copied, then removed"
            yield _on_table("worker", role, table, "INSERT, DELETE", why)
    for other in facts.relations:
        if other.named is not None and not other.ours:
            yield _on_table("worker", role, other, "SELECT", "a lookup tells tenants by it")


def _exporter(facts: _Facts) -> Iterator[Grant]:
    role = facts.named.exporter
    yield from _made(facts, "exporter", role)
    for schema in facts.closed_schemas:
        why = "the catalog is asked for tables of this schema by their names; their rows are not read"
        yield _on_schema("exporter", role, schema, "USAGE", why)
    why = "who waits behind whom, how far an index is: of others' sessions nothing is seen without"
    yield _member("exporter", role, "pg_read_all_stats", why)


def _member(who: Who, role: str, of: str, why: str) -> Grant:
    statement = STATEMENTS.member.compose(of=sql.Identifier(of), role=sql.Identifier(role))
    return Grant(who, why, statement)


def _past_policies(who: Who, role: str, why: str) -> Grant:
    return Grant(who, why, STATEMENTS.past_policies.compose(role=sql.Identifier(role)))


def _on_database(facts: _Facts, who: Who, role: str, right: Literal["CONNECT", "CREATE"], why: str) -> Grant:
    statement = STATEMENTS.on_database.compose(
        rights=sql.SQL(right), database=sql.Identifier(facts.database.name), role=sql.Identifier(role)
    )
    return Grant(who, why, statement)


def _on_schema(who: Who, role: str, schema: str, right: Literal["USAGE", "CREATE"], why: str) -> Grant:
    statement = STATEMENTS.on_schema.compose(
        rights=sql.SQL(right), schema=sql.Identifier(schema), role=sql.Identifier(role)
    )
    return Grant(who, why, statement)


def _on_table(who: Who, role: str, table: Relation, rights: LiteralString, why: str) -> Grant:
    statement = STATEMENTS.on_table.compose(
        rights=sql.SQL(rights), table=table.identifier, role=sql.Identifier(role)
    )
    return Grant(who, why, statement)


def _on_function(who: Who, role: str, function: sql.Composable, why: str) -> Grant:
    statement = STATEMENTS.on_function.compose(function=function, role=sql.Identifier(role))
    return Grant(who, why, statement)


def _on_parameter(who: Who, role: str, parameter: str, why: str) -> Grant:
    statement = STATEMENTS.on_parameter.compose(
        parameter=sql.Identifier(parameter), role=sql.Identifier(role)
    )
    return Grant(who, why, statement)
