"""Who listens to the database and what stands in between: standbys, slots, publications, a pooler, clocks."""

import time
from collections.abc import Iterator

from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.postgres import preflight, surroundings

#: Transactions after which a snapshot elsewhere is old: what died since is pruned nowhere.
OLD = 1_000_000
#: Seconds by which two clocks may differ before ages and hours mean something else to each.
APART = 5.0


def look(ground: Ground, now: float | None = None) -> Iterator[Finding]:
    """Every fact about them; `now` is our own clock, in seconds since 1970."""
    yield _pooler(ground)
    yield _standbys(ground)
    yield none_of(
        "replication slots",
        surroundings.idle_slots(ground.connection),
        level="warn",
        way_out="nobody reads from them, and all WAL of the migration would stay: drop them with "
        "pg_drop_replication_slot, or bring their readers back",
        fine="none is left without a reader",
    )
    yield none_of(
        "old snapshots",
        surroundings.far_snapshots(ground.connection, OLD),
        level="warn",
        way_out="they keep every dead row: end the long query on that standby (hot_standby_feedback), or "
        "drop the slot",
        fine=f"no slot or standby holds one of more than {OLD:,} transactions",
    )
    yield from _published(ground)
    yield _clock(ground, time.time() if now is None else now)


def _pooler(ground: Ground) -> Finding:
    if surroundings.through_pooler(ground.connection):
        way_out = (
            "name the server itself in [database] url, unless it pools whole sessions: locks and settings "
            "are a session's, and pooling of transactions hands them to somebody else"
        )
        return Finding("warn", "connection pooler", "the address leads through one", way_out)
    return Finding("pass", "connection pooler", "none between here and the server")


def _standbys(ground: Ground) -> Finding:
    streaming = surroundings.standbys(ground.connection)
    if streaming and not ground.plan.database.standbys:
        way_out = (
            "name their addresses in [database] standbys: a strong lock travels there, and waits behind long "
            "readers that nobody looks for"
        )
        return Finding("warn", "streaming standbys", "; ".join(streaming), way_out)
    return Finding("pass", "streaming standbys", "; ".join(streaming) or "none")


def _published(ground: Ground) -> Iterator[Finding]:
    connection = ground.connection
    tables = preflight.trees(connection, [table.oid for table in ground.original.tables.values()])
    yield none_of(
        "publications of all tables",
        surroundings.publications_of_all(connection),
        level="warn",
        way_out="they take the ledger in (schema tenantry, it has keys): make its tables at the subscribers, "
        "or publish the tables by their names",
        fine="none",
    )
    yield none_of(
        "replica identity",
        surroundings.without_identity(connection, tables),
        level="stop",
        way_out="their updates are published, and the server refuses each without an identity: give them a "
        "primary key or ALTER TABLE … REPLICA IDENTITY FULL",
        fine="every published table has one",
    )
    whole = surroundings.whole_rows_logged(connection, tables)
    if whole:
        way_out = "each updated row goes into the WAL twice: give them REPLICA IDENTITY DEFAULT for the while"
        yield Finding("warn", "rows logged whole", "; ".join(whole), way_out)


def _clock(ground: Ground, now: float) -> Finding:
    apart = abs(surroundings.clock(ground.connection) - now)
    if apart > APART:
        fact = f"the server's and this machine's are {apart:,.0f} s apart"
        return Finding("warn", "clock", fact, "set them by NTP: active hours and ages go by them")
    return Finding("pass", "clock", "the server's and this machine's agree")
