"""Who comes without a tenant: told by role and application, kept in the ledger, and not forgotten."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest

from control import status, unscoped
from control.conductor import settings_of
from control.quiet import Quiet, since
from control.stage import Ground
from control.stages import columns, rls
from control.unscoped import Unscoped
from sql.errors import GateClosedError
from sql.postgres.connection import Connection, connect
from sql.postgres.rls import unscoped_accesses
from tests.integration.migrated import Remembered, fill, ground, take
from tests.integration.policed import (
    SEEN,
    TENANT,
    counted,
    entities_in,
    make_role,
    read_and_report,
    row,
    session_of,
    taken,
)
from tests.servers import start_postgres
from tests.waiting import until
from worker import ledger, version


@pytest.fixture
def observed(sample: str) -> Iterator[Ground]:
    """The sample while its entities are observed, with one more role that reads them."""
    with connect(sample, "test") as connection:
        make_role(connection, "graph_reader")
        connection.execute("GRANT SELECT ON graph_entities TO graph_reader")
        take(columns.STAGE, ground(connection, entities_in("observe")))
        fill(connection)
        yield taken(connection, entities_in("observe"))


def look(operator: Connection, memory: Remembered) -> dict[str, Unscoped]:
    """Look once, as the gate does, and keep it."""
    seen = unscoped.observe(operator, memory, unscoped_accesses(operator))
    return {one.role: one for one in seen}


@contextmanager
def reading(operator: Connection, role: str, application: str) -> Iterator[Connection]:
    """A session that has read without a tenant, and reported it."""
    with session_of(operator, role, application_name=application) as session:
        read_and_report(session)
        yield session


def test_each_role_is_counted_with_the_applications_that_it_had_sessions_of(observed: Ground) -> None:
    operator, memory = observed.connection, Remembered()
    with session_of(operator, "graph_app", application_name="scoped") as scoped:
        scoped.execute(TENANT, ["org-01"])
        read_and_report(scoped)
    with reading(operator, "graph_app", "billing") as billing:
        until(lambda: look(operator, memory), "the first count")
        read_and_report(billing)
        with reading(operator, "graph_reader", "report"):
            until(lambda: "graph_reader" in look(operator, memory), "the reader's count")
            until(lambda: look(operator, memory)["graph_app"].accesses > 1, "the second count")
    found = look(operator, memory)
    assert {role: (one.accesses, one.applications) for role, one in found.items()} == {
        "graph_app": (2, ("billing",)),
        "graph_reader": (1, ("report",)),
    }


def test_a_session_that_became_another_role_is_counted_as_that_role(observed: Ground) -> None:
    operator = observed.connection
    make_role(operator, "graph_login")
    operator.execute("GRANT graph_app TO graph_login")
    with session_of(operator, "graph_login", application_name="switching") as session:
        session.execute("SET ROLE graph_app")
        read_and_report(session)
        found = until(lambda: look(operator, Remembered()), "a count")
    operator.execute("REVOKE graph_app FROM graph_login")
    assert found["graph_app"].applications == ("switching",)


def test_a_role_made_since_is_counted_too(observed: Ground) -> None:
    operator = observed.connection
    operator.execute("DROP ROLE IF EXISTS graph_late")
    make_role(operator, "graph_late")
    operator.execute("GRANT SELECT ON graph_entities TO graph_late")
    with session_of(operator, "graph_late") as session:
        row(session, SEEN)
    counted(operator, 1)
    assert [*look(operator, Remembered())] == ["roles made since"]


def test_who_was_counted_is_told_by_status_and_by_the_closed_gate(observed: Ground) -> None:
    connection, plan = observed.connection, entities_in("strict", quiet="300ms")
    version.create(connection)
    begun = ledger.begin(
        connection,
        name=plan.name,
        tables=[table.name for table in plan.tables],
        original=observed.original.model_dump(mode="json"),
        settings=settings_of(plan, throttle=False),
    )
    with reading(connection, "graph_app", "billing") as session:

        def disturb(_line: str) -> None:
            read_and_report(session)

        counted(connection, 1)
        (unrecorded,) = status.read(connection, plan.name).unscoped
        on = replace(
            observed,
            plan=plan,
            confirmed=frozenset(),
            memory=ledger.Memory(connection, begun.id),
            notify=disturb,
        )
        with pytest.raises(GateClosedError) as closed:
            take(rls.STAGE, on)
    (told,) = status.read(connection, plan.name).unscoped
    assert (unrecorded.role, unrecorded.accesses, unrecorded.since) == ("graph_app", 1, None)
    assert (told.role, told.applications) == ("graph_app", ("billing",))
    assert told.since is not None
    assert told.last is not None
    assert told.last > told.since
    (fact,) = [fact for fact in closed.value.facts if fact.startswith("graph_app: ")]
    assert f"without a tenant since {told.since:%Y-%m-%d %H:%M:%S}" in fact
    assert fact.endswith("by billing")


def test_a_transaction_that_may_hold_a_count_back_keeps_strict_closed(observed: Ground) -> None:
    on = replace(observed, plan=entities_in("strict"), confirmed=frozenset())
    with (
        session_of(on.connection, "graph_app", application_name="nightly job") as session,
        session.transaction(),
    ):
        row(session, SEEN)
        with pytest.raises(GateClosedError, match="nightly job as graph_app, in a transaction since"):
            take(rls.STAGE, on)


def test_a_crash_begins_the_quiet_time_again_and_forgets_nobody() -> None:
    """A crash leaves the postmaster as it was, and no count: it would read as a long quiet."""
    memory = Remembered()
    with start_postgres() as server:
        with connect(server.url(), "test") as connection:
            for statement in (
                "CREATE ROLE graph_app LOGIN",
                "CREATE TABLE graph_entities (id text PRIMARY KEY, tenant_id text)",
                "CREATE TABLE graph_relations (id text PRIMARY KEY, tenant_id text)",
                "INSERT INTO graph_entities VALUES ('a', 'one')",
                "GRANT SELECT ON graph_entities TO graph_app",
            ):
                connection.execute(statement)
            taken(connection, entities_in("observe"))
            before = _quiet(connection, memory)
            with reading(connection, "graph_app", "billing") as session:
                until(lambda: look(connection, memory), "a count")
                os.kill(session.info.backend_pid, signal.SIGKILL)
                # The server ends every other session before it begins again.
                until(lambda: _lost(connection), "the crash")
        until(lambda: _answers(server.url()), "the server after its crash")
        with connect(server.url(), "test") as again:
            assert unscoped_accesses(again).calls == 0
            after = _quiet(again, memory)
            kept = look(again, memory)
    assert after.since > before.since
    assert (kept["graph_app"].accesses, kept["graph_app"].applications) == (1, ("billing",))


def _quiet(connection: Connection, memory: Remembered) -> Quiet:
    count = unscoped_accesses(connection)
    return since(memory, unscoped.MEMORY, {"calls": count.calls, "by": count.counted_by}, count.now)


def _lost(connection: Connection) -> bool:
    try:
        connection.execute("SELECT")
    except psycopg.OperationalError:
        return True
    return False


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
