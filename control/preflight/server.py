"""The server and this session: version, rights, who else is there, and who listens."""

from collections.abc import Iterator

from control import standbys
from control.plan.values import seconds
from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.postgres import preflight, surroundings, verify

OLDEST = 140_000
#: Seconds after which a transaction is long: it stops pruning, and everything CONCURRENTLY waits for it.
LONG = 300.0
#: Seconds that an idle session may keep its statistics to itself.
REPORTED_LATE = 10.0
#: The share of autovacuum_freeze_max_age from which on a vacuum against wraparound may come meanwhile.
DUE = 0.9


def look(ground: Ground) -> Iterator[Finding]:
    """Every fact about the server."""
    yield _version(ground)
    yield from _rights(ground)
    yield _open_schemas(ground)
    yield from _settings(ground)
    yield from _others(ground)
    yield from _standbys(ground)


def _version(ground: Ground) -> Finding:
    version = ground.original.server_version
    fact = f"PostgreSQL {version // 10_000}.{version % 10_000}"
    if version < OLDEST:
        return Finding("stop", "server version", fact, "upgrade to PostgreSQL 14 or later")
    return Finding("pass", "server version", fact)


def _rights(ground: Ground) -> Iterator[Finding]:
    rights = preflight.rights(ground.connection)
    role = rights.role
    if rights.superuser:
        yield Finding("pass", "rights", f"{role} is a superuser")
        return
    tables = [table.oid for table in ground.original.tables.values()]
    yield none_of(
        "rights on the tables",
        # Adding a column to a partitioned table alters each partition, and asks for its owner's rights.
        preflight.not_owned(ground.connection, preflight.trees(ground.connection, tables)),
        level="stop",
        way_out=f"run as their owner, or GRANT the owner's role TO {role}",
        fine=f"{role} may act as the owner of every table",
    )
    yield none_of(
        "right to make indexes",
        preflight.closed_schemas(ground.connection, tables),
        level="stop",
        way_out=f"GRANT CREATE ON SCHEMA … TO {role}: owning a table is not enough",
        fine=f"{role} has it in every schema of the tables",
    )
    under_policy = any(table.rls is not None for table in ground.plan.tables) or any(
        table.row_security for table in ground.original.tables.values()
    )
    granted = (
        ("stop", rights.makes_schemas, "right to make schemas", f"GRANT CREATE ON DATABASE … TO {role}"),
        (
            "stop",
            rights.bypasses or not under_policy,
            "way past policies",
            f"ALTER ROLE {role} BYPASSRLS: backfill, validation and rollback would see no rows else",
        ),
        (
            "warn",
            not under_policy
            or ground.plan.verify.role is not None
            or verify.can_be_nobody(ground.connection) is None,
            "a role to try isolation by",
            "name a `role` in [verify], as which isolation is tried, or `tenantry verify` as a superuser",
        ),
        ("warn", rights.monitors, "sight of other sessions", f"GRANT pg_read_all_stats TO {role}"),
    )
    for level, given, name, way_out in granted:
        if given:
            yield Finding("pass", name, f"{role} has it")
        else:
            yield Finding("stop" if level == "stop" else "warn", name, f"{role} hasn't it", way_out)


def _open_schemas(ground: Ground) -> Finding:
    """Who may create where a name is looked for may put a function before the server's: it fits better."""
    return none_of(
        "schemas that everybody creates in",
        preflight.open_schemas(
            ground.connection, {table.schema_ for table in ground.original.tables.values()}
        ),
        level="warn",
        way_out="a function of anybody's there may be run by the controller, a worker or the write guard: "
        "REVOKE CREATE ON SCHEMA … FROM PUBLIC, and GRANT it to whom the application needs it for",
        fine="none of those in which names are looked for",
    )


def _settings(ground: Ground) -> Iterator[Finding]:
    settings = preflight.settings(ground.connection)
    if settings.read_only:
        yield Finding(
            "stop", "primary", "this session may only read", "name the primary's address in the plan"
        )
    yield from _vacuum(ground, on=settings.autovacuum)
    strict = [t.rls for t in ground.plan.tables if t.rls is not None and t.rls.mode == "strict"]
    if not strict:
        return
    if not preflight.may_count(ground.connection):
        yield Finding(
            "warn",
            "counting unscoped access",
            "track_functions is off and this role may not set it",
            "GRANT SET ON PARAMETER track_functions (PostgreSQL 15), set it to pl, or `tenantry confirm rls`",
        )
    if min(seconds(rls.quiet) for rls in strict) < REPORTED_LATE:
        yield Finding(
            "warn",
            "quiet time",
            f"shorter than the {REPORTED_LATE:g} s for which an idle session may keep its counts",
            "give rls.quiet at least 10s, as long as your rarest job takes to come round",
        )


def _vacuum(ground: Ground, *, on: bool) -> Iterator[Finding]:
    tables = preflight.trees(ground.connection, [table.oid for table in ground.original.tables.values()])
    yield none_of(
        "autovacuum",
        ([] if on else ["it is off"]) + surroundings.not_vacuumed(ground.connection, tables),
        level="warn",
        way_out="switch it on (autovacuum_enabled, for a table): the backfill leaves a dead row for each",
        fine="on, for every table",
    )
    yield none_of(
        "wraparound",
        surroundings.wraparound_due(ground.connection, tables, DUE),
        level="warn",
        way_out="VACUUM (FREEZE) them before: a vacuum against wraparound gives way to no lock",
        fine="no table is near its next vacuum against it",
    )


def _others(ground: Ground) -> Iterator[Finding]:
    connection = ground.connection
    yield none_of(
        "long transactions",
        preflight.long_transactions(connection, LONG),
        level="warn",
        way_out="end them: they stop pruning, and indexes built concurrently wait for them",
        fine=f"none older than {LONG / 60:g} minutes",
    )
    yield none_of(
        "prepared transactions",
        preflight.prepared_transactions(connection),
        level="warn",
        way_out="COMMIT PREPARED or ROLLBACK PREPARED them",
        fine="none",
    )
    tables = [table.oid for table in ground.original.tables.values()]
    published = preflight.publications(connection, preflight.trees(connection, tables))
    column = ground.plan.tenant.column
    yield none_of(
        "logical replication",
        [p.publication for p in published],
        level="stop" if any(p.subscribed for p in published) else "warn",
        way_out=f"a subscriber without {column} stops at stage `columns`: add the column there first, and "
        "publish the tables with a list of columns until `columns` is done",
        fine="no publication holds the tables",
    )
    if any(table.rls is not None for table in ground.plan.tables):
        yield none_of(
            "sessions past policies",
            preflight.bypassing_sessions(connection),
            level="warn",
            way_out="no policy holds superusers and BYPASSRLS roles: give the application a role of its own",
            fine="no client session is a superuser's or bypasses policies",
        )


def _standbys(ground: Ground) -> Iterator[Finding]:
    addresses = [standby.get_secret_value() for standby in ground.plan.database.standbys]
    if addresses:
        yield none_of(
            "standbys",
            standbys.out_of_reach(addresses),
            level="warn",
            way_out="bring them back, or take them out of [database] standbys: while one of them can't be "
            "looked at, no strong lock is taken",
            fine="each of the plan's answers",
        )
