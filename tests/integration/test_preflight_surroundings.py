"""Preflight on what stands around the tables: each fact is made real, and found with its way out."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from control.demo import sample as sample_graph
from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.preflight import application, bypasses, guide, listeners, room, server
from control.preflight.checklist import look
from control.preflight.estimate import estimates
from control.preflight.finding import Finding
from sql.postgres.connection import Connection, connect
from tests.integration.migrated import PLAN, ground, plan
from tests.integration.standby import standby
from tests.servers import start_postgres
from tests.waiting import until


@pytest.fixture
def operator(sample: str) -> Iterator[Connection]:
    """Our own session on a fresh copy of the sample."""
    with connect(sample, "test") as connection:
        yield connection


def named(findings: Iterator[Finding] | list[Finding], name: str) -> Finding:
    """The finding of that name; what isn't a pass has a way out."""
    (found,) = [finding for finding in findings if finding.name == name]
    assert found.level == "pass" or found.way_out
    return found


#: A statement that makes a fact real; the finding that warns of it; a word of what it says.
WARNINGS: dict[str, tuple[str, str, str]] = {
    "a view of a superuser's": (
        "CREATE VIEW names AS SELECT id FROM graph_entities",
        "views past policies",
        "view names of postgres",
    ),
    "a materialized view of anybody's": (
        (
            "CREATE ROLE reporter; GRANT ALL ON graph_entities TO reporter; "
            "CREATE MATERIALIZED VIEW kept AS SELECT id FROM graph_entities; "
            "ALTER MATERIALIZED VIEW kept OWNER TO reporter"
        ),
        "views past policies",
        "materialized view kept of reporter",
    ),
    "a function of a superuser's": (
        (
            "CREATE FUNCTION entities() RETURNS bigint LANGUAGE sql SECURITY DEFINER "
            "AS 'SELECT count(*) FROM graph_entities'"
        ),
        "functions past policies",
        "entities() of postgres",
    ),
    "an index by an operator that leaks": (
        "CREATE INDEX by_weight ON graph_relations ((weight::numeric))",
        "indexes lost to policies",
        "by_weight",
    ),
    "a publication of all tables": (
        "CREATE PUBLICATION everything FOR ALL TABLES",
        "publications of all tables",
        "everything",
    ),
    "a table that autovacuum leaves alone": (
        "ALTER TABLE graph_relations SET (autovacuum_enabled = false)",
        "autovacuum",
        "graph_relations",
    ),
    "a tenant column that is there already": (
        "ALTER TABLE graph_relations ADD COLUMN tenant_id text",
        "way back",
        "graph_relations is there already, and keeps what is filled in",
    ),
    "a table near a vacuum against wraparound": (
        (
            "UPDATE pg_class SET relfrozenxid = ((txid_current() + 4294967296 - 195000000) "
            "% 4294967296)::text::xid WHERE relname = 'graph_relations'"
        ),
        "wraparound",
        "graph_relations",
    ),
}


@pytest.mark.parametrize("real", WARNINGS)
def test_a_fact_around_the_tables_is_warned_of_with_its_way_out(operator: Connection, real: str) -> None:
    statement, name, word = WARNINGS[real]
    operator.execute(statement.encode())
    try:
        findings = look(ground(operator, plan()))
    finally:
        if "ROLE reporter" in statement:
            operator.execute("DROP OWNED BY reporter; DROP ROLE reporter")
    assert [finding.name for finding in findings if finding.level == "stop"] == []
    found = named(findings, name)
    assert found.level == "warn"
    assert word in found.fact


def test_without_any_of_them_every_one_of_these_facts_passes(operator: Connection) -> None:
    findings = look(ground(operator, plan()))
    names = {name for _, name, _ in WARNINGS.values()} | {
        "connection pooler",
        "streaming standbys",
        "replication slots",
        "old snapshots",
        "replica identity",
        "clock",
        "disk",
        "volume",
        "window",
        "isolation",
        "way back",
        "statistics",
    }
    # The sample has indexes on jsonb, whose operators leak.
    assert {n for n in names if named(findings, n).level != "pass"} == {"indexes lost to policies"}
    assert "idx_graph_entities_properties" in named(findings, "indexes lost to policies").fact


def test_a_view_that_reads_as_its_reader_is_no_way_past_policies(operator: Connection) -> None:
    if operator.info.server_version < 150_000:
        pytest.skip("security_invoker is PostgreSQL 15's")
    operator.execute("CREATE VIEW names WITH (security_invoker = true) AS SELECT id FROM graph_entities")
    assert named(bypasses.look(ground(operator, plan())), "views past policies").level == "pass"


def test_what_leads_past_policies_by_way_of_another_view_or_in_capitals_is_named(
    operator: Connection,
) -> None:
    if operator.info.server_version >= 150_000:
        operator.execute("CREATE VIEW inner_one WITH (security_invoker = 1) AS SELECT id FROM graph_entities")
    else:
        operator.execute("CREATE VIEW inner_one AS SELECT id FROM graph_entities")
    operator.execute("CREATE VIEW outer_one AS SELECT id FROM inner_one")
    operator.execute("CREATE MATERIALIZED VIEW kept AS SELECT id FROM outer_one")
    operator.execute(
        "CREATE FUNCTION total() RETURNS bigint LANGUAGE sql SECURITY DEFINER "
        "AS 'SELECT count(*) FROM GRAPH_ENTITIES'"
    )
    findings = list(bypasses.look(ground(operator, plan())))
    views = named(findings, "views past policies").fact
    assert "view outer_one" in views
    assert "materialized view kept" in views
    assert "total()" in named(findings, "functions past policies").fact


def test_a_published_table_that_can_not_be_updated_stops(operator: Connection) -> None:
    operator.execute("CREATE PUBLICATION feed FOR TABLE graph_relations")
    on = ground(operator, plan())
    assert named(listeners.look(on), "replica identity").level == "pass"
    operator.execute("ALTER TABLE graph_relations REPLICA IDENTITY NOTHING")
    found = named(listeners.look(on), "replica identity")
    assert (found.level, found.fact) == ("stop", "graph_relations")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        operator.execute("UPDATE graph_relations SET weight = 1")


def test_a_slot_that_nobody_reads_from_is_named_with_what_it_keeps(operator: Connection) -> None:
    operator.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        found = named(listeners.look(ground(operator, plan())), "replication slots")
    finally:
        operator.execute("SELECT pg_drop_replication_slot('forgotten')")
    assert found.level == "warn"
    assert found.fact.startswith("forgotten keeps ")


def test_a_standby_that_the_plan_does_not_name_is_warned_of_and_so_is_its_old_snapshot(
    operator: Connection, sample: str, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "OLD", 0)
    with standby(postgres, "copy") as replica:
        found = named(listeners.look(ground(operator, plan())), "streaming standbys")
        assert found.level == "warn"
        assert found.fact == "copy (streaming)"
        known = Plan.model_validate(PLAN | {"database": {"url": sample, "standbys": [replica.url]}})
        assert named(listeners.look(ground(operator, known)), "streaming standbys").level == "pass"
        with psycopg.connect(replica.url, autocommit=True) as there, psycopg.connect(replica.url) as reader:
            there.execute("ALTER SYSTEM SET hot_standby_feedback = on")
            there.execute("ALTER SYSTEM SET wal_receiver_status_interval = '1s'")
            there.execute("SELECT pg_reload_conf()")
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT FROM pg_class")
            old = until(lambda: _old_snapshots(operator), "the standby to tell of its snapshot")
        assert old == "standby copy"


def _old_snapshots(operator: Connection) -> str | None:
    operator.execute("SELECT pg_current_xact_id()")
    found = named(listeners.look(ground(operator, plan())), "old snapshots")
    return found.fact if found.level == "warn" else None


def test_clocks_that_differ_are_warned_of(operator: Connection) -> None:
    on = ground(operator, plan())
    row = operator.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None
    assert named(listeners.look(on, now=row[0]), "clock").level == "pass"
    found = named(listeners.look(on, now=row[0] - 3600), "clock")
    assert found.level == "warn"
    assert found.fact.endswith("3,600 s apart")


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """Stand between as a pooler does: the process id that a client is told is none of the server's."""
    parts: dict[str, Any] = conninfo.conninfo_to_dict(url)
    behind_at = str(Path(str(parts["host"])) / f".s.PGSQL.{parts['port']}")
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as behind:
        through = conninfo.make_conninfo(
            url, host="127.0.0.1", port=listener.getsockname()[1], sslmode="disable", gssencmode="disable"
        )

        def pass_on() -> None:
            with suppress(OSError):
                client, _ = listener.accept()
                with client:
                    behind.connect(behind_at)
                    back = threading.Thread(target=_copy, args=(client, behind, False), daemon=True)
                    back.start()
                    _copy(behind, client, True)
                    back.join()

        passing = threading.Thread(target=pass_on, daemon=True)
        passing.start()
        yield through
        passing.join()


def _copy(one: socket.socket, other: socket.socket, renamed: bool) -> None:  # noqa: FBT001  # a thread's
    key = b"K\x00\x00\x00\x0c"
    with suppress(OSError):
        while data := one.recv(65_536):
            if renamed and (at := data.find(key)) >= 0:
                begin = at + len(key)
                data = data[:begin] + (4_000_000).to_bytes(4, "big") + data[begin + 4 :]
                renamed = False
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


def test_an_address_that_leads_through_a_pooler_is_warned_of(sample: str) -> None:
    with pooled(sample) as through, connect(through, "test") as connection:
        found = named(listeners.look(ground(connection, plan())), "connection pooler")
    assert found.level == "warn"
    assert "[database] url" in found.way_out


def test_tables_that_changed_much_since_they_were_analyzed_are_named(operator: Connection) -> None:
    operator.execute("UPDATE graph_relations SET weight = 0.5")
    on = ground(operator, plan())

    def stale() -> str | None:
        operator.execute("SELECT")
        with connect(operator.info.dsn, "other") as other:
            other.execute("SELECT")
        found = named(look(on), "statistics")
        return found.fact if found.level == "warn" else None

    # Sessions hand their counts in about once a second.
    assert "graph_relations (" in (until(stale, "the counts") or "")


def test_room_is_held_against_what_is_free_where_the_server_is_on_this_machine(operator: Connection) -> None:
    on = ground(operator, plan())
    passed = named(room.look(on, estimates(on)), "disk")
    assert passed.level == "pass"
    assert passed.fact.endswith(" free")
    operator.execute("UPDATE pg_class SET reltuples = 1e13 WHERE oid = 'graph_relations'::regclass")
    on = ground(operator, plan())
    found = named(room.look(on, estimates(on)), "disk")
    assert found.level == "stop"
    assert "make room" in found.way_out


def test_tables_without_a_policy_beside_others_with_one_are_named(operator: Connection) -> None:
    tables = [dict(table) for table in PLAN["tables"]]
    del tables[1]["rls"]
    on = ground(operator, Plan.model_validate(PLAN | {"tables": tables}))
    found = named(guide.look(on, []), "isolation")
    assert (found.level, found.fact) == ("warn", "graph_relations")


@pytest.fixture(scope="module")
def counted() -> Iterator[str]:
    """A server that counts statements, and on which an application has worked and the archive fails."""
    settings = {
        "fsync": "off",
        "shared_preload_libraries": "pg_stat_statements",
        "archive_mode": "on",
        "archive_command": "false",
        "max_slot_wal_keep_size": "1MB",
    }
    with start_postgres(settings=settings) as of, connect(of.url(), "test") as connection:
        sample_graph.create(connection)
        sample_graph.fill(connection, entities=500, relations=1_000)
        connection.execute("CREATE EXTENSION pg_stat_statements")
        with psycopg.connect(of.url(), autocommit=True) as shop:
            shop.execute("SELECT * FROM graph_entities WHERE id = %s", ["x"])
            shop.execute("SELECT id, count(*) FROM graph_entities GROUP BY id")
            shop.execute(
                "INSERT INTO graph_relations (id, relation_type, source_id, target_id) "
                "SELECT 'x', 'knows', 'y', 'z' WHERE false ON CONFLICT (id) DO NOTHING"
            )
        connection.execute("SELECT pg_create_physical_replication_slot('reader', true)")
        connection.execute("SELECT pg_switch_wal()")
        yield of.url()


def test_statements_that_a_migration_breaks_for_a_while_are_shown_with_their_calls(counted: str) -> None:
    with connect(counted, "test") as connection:
        findings = list(application.look(ground(connection, plan())))
    every = named(findings, "statements that read every column")
    assert every.level == "warn"
    assert every.fact == "SELECT * FROM graph_entities WHERE id = $1 (1 calls)"
    meeting = named(findings, "statements with ON CONFLICT")
    assert meeting.level == "warn"
    assert "INSERT INTO graph_relations" in meeting.fact


@pytest.mark.parametrize(("unique", "level"), [(["graph_relations_code_key"], "warn"), ([], "pass")])
def test_upserts_matter_where_the_key_or_something_unique_takes_the_tenant_in(
    counted: str, unique: list[str], level: str
) -> None:
    tables = [table | {"primary_key": None, "unique": unique} for table in PLAN["tables"]]
    with connect(counted, "test") as connection:
        findings = list(application.look(ground(connection, Plan.model_validate(PLAN | {"tables": tables}))))
    assert named(findings, "statements with ON CONFLICT").level == level


def test_an_archive_that_fails_and_slots_that_would_lose_their_place_are_warned_of(counted: str) -> None:
    with connect(counted, "test") as connection:
        on = ground(connection, plan())

        def failing() -> list[str]:
            return [f.name for f in room.look(on, estimates(on)) if f.level == "warn"]

        until(lambda: "archive" in failing(), "the archiver to have failed")
        connection.execute("UPDATE pg_class SET reltuples = 1e6 WHERE oid = 'graph_relations'::regclass")
        on = ground(connection, plan())
        assert "WAL for slots" in failing()


def test_vacuum_facts_are_of_the_tables_of_the_plan_alone(operator: Connection) -> None:
    operator.execute("CREATE TABLE other () WITH (autovacuum_enabled = false)")
    assert named(server.look(ground(operator, plan())), "autovacuum").level == "pass"
