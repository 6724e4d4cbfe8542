"""What cuts a statement of the controller short: the cancel of its migration, and nothing else."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from control import steering
from control.cancelling import cancellable
from control.embedded.valkey import EmbeddedValkey
from control.stage import Ground
from sql.errors import CancelledError
from sql.postgres.connection import connect
from sql.postgres.session import cut_short, take_migration
from tests.integration.stationed import grounded
from tests.waiting import until

_WAIT = "SELECT pg_advisory_lock_shared(7, 7)"
_WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tenantry %%' AND query = %s "
    "AND wait_event_type = 'Lock'"
)
_LOOKED = (
    "SELECT query_start FROM pg_stat_activity "
    "WHERE application_name = 'tenantry cancelling' AND datname = current_database()"
)


@contextmanager
def _controlled(sample: str, valkey: EmbeddedValkey) -> Iterator[Ground]:
    """A ground whose connection has the migration, as a controller's."""
    with grounded(sample, valkey) as (ground, session):
        assert take_migration(session, ground.plan.name) is None
        yield ground


@contextmanager
def _meanwhile(connection: psycopg.Connection, say: Callable[[], object]) -> Iterator[None]:
    """Once the body waits in `_WAIT`, somebody says something. Nothing but that ends the waiting."""

    def wait_and_say() -> None:
        try:
            until(lambda: connection.execute(_WAITING, [_WAIT]).fetchall(), "the statement to wait")
            say()
        except BaseException:
            connection.execute("SELECT pg_advisory_unlock(7, 7)")
            raise

    connection.execute("SELECT pg_advisory_lock(7, 7)")
    with ThreadPoolExecutor() as threads:
        said = threads.submit(wait_and_say)
        yield
        said.result()


def test_a_cancel_cuts_a_statement_short_that_waits(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with (
        _controlled(sample, valkey) as ground,
        _meanwhile(connection, lambda: steering.cancel(ground.plan, connection)),
        pytest.raises(CancelledError),
        cancellable(ground, "indexes"),
    ):
        ground.connection.execute(_WAIT)


def test_a_cut_that_is_taken_for_a_limit_of_its_own_ends_the_stage_all_the_same(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """As preflight gives up a count, and a lock its attempt."""
    with (
        _controlled(sample, valkey) as ground,
        _meanwhile(connection, lambda: steering.cancel(ground.plan, connection)),
        pytest.raises(CancelledError),
        cancellable(ground, "preflight"),
        pytest.raises(psycopg.errors.QueryCanceled),
    ):
        ground.connection.execute(_WAIT)


def test_what_somebody_else_cancels_stays_an_error(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with _controlled(sample, valkey) as ground:
        pid = ground.connection.info.backend_pid
        with (
            _meanwhile(connection, lambda: connection.execute("SELECT pg_cancel_backend(%s)", [pid])),
            pytest.raises(psycopg.errors.QueryCanceled),
            cancellable(ground, "indexes"),
        ):
            ground.connection.execute(_WAIT)


def test_a_pause_waits_for_the_statements_end(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with _controlled(sample, valkey) as ground:

        def pause() -> None:
            steering.pause(ground.plan, connection)
            seen: set[object] = set()

            def looked_often() -> bool:
                seen.update(connection.execute(_LOOKED).fetchall())
                return len(seen) > 3

            until(looked_often, "several looks at the ledger")
            connection.execute("SELECT pg_advisory_unlock(7, 7)")

        with _meanwhile(connection, pause), cancellable(ground, "indexes"):
            assert ground.connection.execute(_WAIT).rowcount == 1


def test_nobody_is_cut_short_but_who_has_the_cancelled_migration_of_this_database(
    sample: str, database: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """Others of the role may be at work, and another database of the server may have one of the same name."""
    with (
        _controlled(sample, valkey) as ground,
        connect(sample, "worker") as worker,
        connect(database, "controller") as elsewhere,
        psycopg.connect(database, autocommit=True) as there,
    ):
        assert take_migration(elsewhere, ground.plan.name) is None
        for holder in (connection, there):
            holder.execute("SELECT pg_advisory_lock(7, 7)")
        with ThreadPoolExecutor() as threads:
            waiting = [threads.submit(bystander.execute, _WAIT) for bystander in (worker, elsewhere)]
            until(lambda: connection.execute(_WAITING, [_WAIT]).rowcount == 2, "both to wait")
            steering.cancel(ground.plan, connection)
            try:
                cut = cut_short(connection, ground.migration, seconds=0)
            finally:
                for holder in (connection, there):
                    holder.execute("SELECT pg_advisory_unlock(7, 7)")
            assert [one.result().rowcount for one in waiting] == [1, 1]
        assert not cut


def test_a_second_run_is_told_of_the_holder_in_its_own_database(
    sample: str, database: str, valkey: EmbeddedValkey
) -> None:
    with (
        connect(database, "controller") as elsewhere,
        _controlled(sample, valkey) as ground,
        connect(sample, "controller") as second,
    ):
        assert take_migration(elsewhere, ground.plan.name) is None
        holder = take_migration(second, ground.plan.name)
        assert holder is not None
        assert f"server process {ground.connection.info.backend_pid} " in holder
