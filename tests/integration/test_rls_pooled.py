"""Tenants behind a transaction pooler: two sessions take turns on one server connection."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from control.embedded.keeper import unprivileged_account
from control.embedded.postgres import EmbeddedPostgres
from control.stages import columns
from sql.postgres.connection import Connection, connect
from tests.integration.migrated import fill, ground, take
from tests.integration.policed import LOCAL_TENANT, SEEN, counted, entities_in, row, taken
from tests.integration.reporting import report
from tests.waiting import until

pytestmark = pytest.mark.full

_PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@pytest.fixture
def operator(sample: str) -> Iterator[Connection]:
    """Our own session on a copy of the sample whose rows have their tenants."""
    with connect(sample, "test") as connection:
        take(columns.STAGE, ground(connection, entities_in("observe")))
        fill(connection)
        yield connection


@pytest.fixture
def pooled(postgres: EmbeddedPostgres, operator: Connection, tmp_path: Path) -> Iterator[str]:
    """The address of a pgbouncer with one server connection, lent by the transaction."""
    if _PGBOUNCER is None:
        missing = "pgbouncer is not installed: apt-get install pgbouncer"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with _pgbouncer(Path(_PGBOUNCER), postgres, operator.info.dbname, tmp_path) as address:
        yield address


@contextmanager
def _pgbouncer(program: Path, server: EmbeddedPostgres, database: str, folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"""
        [databases]
        {database} = host={server.folder} port={server.port} user=graph_app pool_size=1
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        ignore_startup_parameters = options, extra_float_digits
        """.replace("\n        ", "\n")
    )
    # It refuses to run as root, and only the server's own account may enter the folder of its socket.
    account = unprivileged_account()
    settings.chmod(0o644)
    # In a process of several the test's folder lies one deeper.
    for above in (folder, *folder.parents[:3]):
        above.chmod(above.stat().st_mode | 0o055)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, settings],
            stdout=log,
            stderr=log,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        address = conninfo.make_conninfo(
            host="127.0.0.1", port=port, dbname=database, user="graph_app", gssencmode="disable"
        )
        try:
            until(lambda: _answers(address, process), "pgbouncer")
            yield address
        finally:
            process.terminate()
            process.wait(30)


def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "pgbouncer did not start"
    try:
        psycopg.connect(address).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def _client(address: str) -> Iterator[Connection]:
    # No prepared statements: before 1.21 a pooler gives them to whoever has the connection next.
    with psycopg.connect(address, autocommit=True, prepare_threshold=None) as session:
        yield session


def test_sessions_that_take_turns_on_one_connection_see_their_own_tenants_rows_or_none(
    operator: Connection, pooled: str
) -> None:
    taken(operator, entities_in("strict"))
    backends = set()
    with _client(pooled) as first, _client(pooled) as second, _client(pooled) as straggler:
        for _ in range(3):
            for session, tenant in ((first, "org-01"), (second, "org-02")):
                with session.transaction():
                    session.execute(LOCAL_TENANT, [tenant])
                    assert row(session, SEEN) == (40, 1)
                    assert row(session, "SELECT min(tenant_id) FROM graph_entities") == (tenant,)
                    backends.add(row(session, "SELECT pg_backend_pid()"))
                # The setting reads '' by now, on the same connection.
                assert row(straggler, "SELECT current_setting('app.current_tenant_id', true)") == ("",)
                assert row(straggler, SEEN) == (0, 0)
                backends.add(row(straggler, "SELECT pg_backend_pid()"))
    assert len(backends) == 1


def test_a_straggler_on_a_connection_that_others_scoped_is_counted_and_they_are_not(
    operator: Connection, pooled: str
) -> None:
    taken(operator, entities_in("observe"))
    with _client(pooled) as first, _client(pooled) as straggler:
        for _ in range(2):
            with first.transaction():
                first.execute(LOCAL_TENANT, ["org-01"])
                assert row(first, SEEN) == (40, 1)
        assert row(straggler, SEEN) == (2000, 50)
        report(straggler)
        counted(operator, 1)
    calls = operator.execute("SELECT pg_stat_get_function_calls('tenantry_rls.unscoped(name)'::regprocedure)")
    assert calls.fetchone() == (1,)
