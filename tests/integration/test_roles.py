"""Least privilege: a whole migration with what `roles --sql` grants, and what each role may not do."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from control.demo import sample as sample_graph
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from tests.integration.operating import complaint
from tests.integration.privileged import (
    CONTROLLER,
    EXPORTER,
    OWNER,
    VERIFIER,
    WORKER,
    Privileged,
    privileged,
)
from tests.servers import before_15, start_postgres
from tests.waiting import until

_ENTITIES, _RELATIONS = 2_000, 4_000
_ASSIGN = (
    *("tenants", "assign", "acme", "--from", "org-01", "--where", "properties->>'org_id' = 'org-01'"),
    *("--yes", "--no-throttle"),
)
#: What `check` says of rights.
_RIGHTS = (
    "rights on the tables",
    "right to make indexes",
    "right to make schemas",
    "way past policies",
    "a role to try isolation by",
    "sight of other sessions",
)
#: What `--assign` grants, taken back once the rows are where they belong.
_NO_MORE_ASSIGNING = "REVOKE INSERT, DELETE ON graph_entities FROM tenantry_worker;"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server of its own, for roles are a server's; it counts no functions' calls, and archives."""
    settings = {
        "fsync": "off",
        "shared_buffers": "64MB",
        "track_functions": "pl" if before_15() else "none",
        "archive_mode": "on",
        "archive_command": "true",
    }
    with start_postgres(settings=settings) as started:
        with psycopg.connect(started.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE graph")
        with psycopg.connect(started.url("graph"), autocommit=True) as connection:
            sample_graph.create(connection)
            sample_graph.fill(connection, entities=_ENTITIES, relations=_RELATIONS)
        yield started


@pytest.fixture
def operator(server: EmbeddedPostgres, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Privileged]:
    """An operator of the sample whose plan names the roles, before there are any."""
    with privileged(server, "graph", tmp_path, valkey.url) as made:
        yield made


@pytest.fixture
def granted(operator: Privileged) -> Privileged:
    """The same after the script was run."""
    operator.run_script(operator.script())
    return operator


def _up(port: int) -> bool:
    """Whether the exporter reads all that it shows."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return "\ntenantry_up 1.0\n" in answer.read().decode()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _warned(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if '"level": "info"' not in line and line.strip()]


def test_a_whole_migration_there_and_back_takes_what_the_script_grants(granted: Privileged) -> None:
    start = granted.schema()
    with granted.serving(WORKER, "worker"), granted.serving(EXPORTER, "exporter") as port:
        until(lambda: _answers(port), "the exporter")
        looked = json.loads(granted.as_(CONTROLLER, "check", "--json").stdout)
        rights = {one["name"]: one["level"] for one in looked}
        assert {rights[name] for name in _RIGHTS} == {"pass"}
        granted.done_as(CONTROLLER, "run", status=3)
        assert _up(port)
        granted.done_as(CONTROLLER, "confirm", "application")
        granted.done_as(CONTROLLER, "run")
        granted.done_as(CONTROLLER, "tenants", "list")
        assert _warned(granted.folder / "worker.log") == []
        refused = complaint(granted.as_(CONTROLLER, *_ASSIGN).stderr)
        assert f"{WORKER} lacks INSERT, DELETE, and `tenantry roles --sql --assign` writes" in refused
        refusals = _warned(granted.folder / "worker.log")
        granted.run_script(granted.script("--assign"))
        granted.done_as(CONTROLLER, *_ASSIGN)
        moved = "SELECT count(*) FROM graph_relations WHERE tenant_id = 'acme'"
        assert granted.count(moved) > 0
        granted.done_as(CONTROLLER, "tenants", "assign", "--undo", "--yes")
        assert granted.count(moved) == 0
        granted.done_as(CONTROLLER, "verify")
        granted.done_as(CONTROLLER, "report")
        granted.done_as(EXPORTER, "status")
        assert _up(port)
        assert granted.count("SELECT count(*) FROM tenantry.events WHERE kind = 'unreadable'") == 0
        granted.done_as(CONTROLLER, "rollback", "--yes")
        granted.run_script(granted.script() + _NO_MORE_ASSIGNING)
        assert granted.schema() == start
        # The ledger is gone, and made anew: what was granted on it has to follow.
        granted.done_as(CONTROLLER, "run", "--to", "backfill")
        assert _up(port)
    assert _warned(granted.folder / "worker.log") == refusals
    assert _warned(granted.folder / "exporter.log") == []


def test_the_script_run_twice_grants_the_same(granted: Privileged) -> None:
    rights = granted.rights()
    granted.run_script(granted.script())
    assert granted.rights() == rights


_REFUSED_TO_WORKERS = """
CREATE TABLE mine ()
CREATE SCHEMA mine
CREATE INDEX ON graph_entities (id)
CREATE ROLE mine
CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'
ALTER TABLE graph_entities ADD COLUMN mine integer
ALTER TABLE graph_entities DISABLE ROW LEVEL SECURITY
DROP TABLE graph_relations
DROP INDEX idx_graph_entities_properties
TRUNCATE graph_relations
DELETE FROM graph_relations
INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('mine', 'mine', 'acme')
SET ROLE graph_owner
SET ROLE tenantry_controller
DROP TABLE tenantry.batches
DELETE FROM tenantry.migrations
UPDATE tenantry.stages SET state = 'done'
UPDATE tenantry.migrations SET original = original
UPDATE tenantry.migrations SET memory = memory
UPDATE tenantry.migrations SET state = 'running'
UPDATE tenantry.jobs SET spec = spec
DELETE FROM tenantry.events
UPDATE tenantry.events SET message = 'nothing'
COPY graph_entities TO PROGRAM 'true'
"""
_REFUSED_TO_EXPORTERS = """
SELECT FROM graph_entities
SELECT id FROM graph_relations
SELECT key FROM tenantry.quarantine
SELECT message FROM tenantry.quarantine
SELECT key FROM tenantry.assigned
UPDATE tenantry.migrations SET state = 'paused'
INSERT INTO tenantry.events (migration_id, actor, kind, message) VALUES (1, 'me', 'pause', 'nothing')
DELETE FROM tenantry.batches
UPDATE tenantry.governor SET zone = 'go'
SELECT id FROM tenantry.batches FOR UPDATE
"""


_DENIED = """
INSERT INTO graph_entities (id, entity_type, properties) VALUES ('denied', 'x', '{"org_id": "org-01"}');
CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
CREATE TRIGGER deny BEFORE UPDATE ON graph_entities
    FOR EACH ROW WHEN (OLD.id = 'denied') EXECUTE FUNCTION deny();
"""


@pytest.fixture(scope="class")
def filled(
    server: EmbeddedPostgres, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Privileged]:
    """A migration whose workers have filled what can be filled; a row that a trigger denies is set aside."""
    with privileged(server, "graph", tmp_path_factory.mktemp("filled"), valkey.url) as made:
        made.run_script(made.script())
        with psycopg.connect(made.url, autocommit=True) as connection:
            connection.execute(_DENIED)
        with made.serving(WORKER, "worker"):
            made.done_as(CONTROLLER, "run", "--to", "backfill", status=4)
        yield made


class TestFilled:
    """What each role may do once rows are filled; all of it is refused, so that one migration serves all."""

    def test_a_worker_fills_rows_and_sets_aside_what_a_trigger_denies(self, filled: Privileged) -> None:
        assert filled.count("SELECT count(*) FROM graph_entities WHERE tenant_id <> ''") == _ENTITIES
        assert filled.count("SELECT count(*) FROM tenantry.quarantine") == 1

    def test_a_worker_can_change_no_schema_and_neither_insert_nor_delete_rows(
        self, filled: Privileged
    ) -> None:
        with psycopg.connect(filled.url_of(WORKER), autocommit=True) as worker:
            assert worker.execute("SELECT FROM graph_entities").rowcount > 0
            for statement in _REFUSED_TO_WORKERS.strip().splitlines():
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    worker.execute(statement.encode())

    def test_an_exporter_reads_no_row_of_the_application_and_writes_nothing(self, filled: Privileged) -> None:
        with psycopg.connect(filled.url_of(EXPORTER), autocommit=True) as exporter:
            assert exporter.execute("SELECT FROM tenantry.migrations").rowcount == 1
            # What ANALYZE kept of the values is shown to whoever may read the column.
            assert exporter.execute("SELECT FROM pg_stats WHERE tablename = 'graph_entities'").rowcount == 0
            refused = _REFUSED_TO_WORKERS + _REFUSED_TO_EXPORTERS
            for statement in filter(None, refused.splitlines()):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    exporter.execute(statement.encode())

    def test_nobody_else_has_any_right_on_the_ledger(self, filled: Privileged) -> None:
        everybody = """
            SELECT count(*) FROM (
                SELECT nspacl FROM pg_namespace WHERE nspname IN ('tenantry', 'tenantry_guard')
                UNION ALL SELECT relacl FROM pg_class WHERE relnamespace IN ('tenantry'::regnamespace,
                                                                             'tenantry_guard'::regnamespace)
            ) AS held (acl) CROSS JOIN LATERAL aclexplode(held.acl) AS a WHERE a.grantee = 0
        """
        assert filled.count(everybody) == 0

    def test_who_may_not_use_the_guard_s_schema_can_attach_none_of_its_functions(
        self, filled: Privileged
    ) -> None:
        """They run as the controller, and a trigger on a table of one's own would run them."""
        call = "SELECT has_schema_privilege(%s, 'tenantry_guard', 'USAGE')"
        with psycopg.connect(filled.url, autocommit=True) as connection:
            for role in (WORKER, EXPORTER, "public"):
                assert connection.execute(call, [role]).fetchone() == (False,)


def test_what_a_role_lacks_of_the_ledger_or_has_too_much_of_the_next_run_sets_right(
    granted: Privileged,
) -> None:
    granted.done_as(CONTROLLER, "run", "--to", "columns")
    rights = granted.schema()
    with psycopg.connect(granted.url, autocommit=True) as connection:
        connection.execute("REVOKE DELETE ON tenantry.holds FROM tenantry_worker")
        connection.execute("REVOKE SELECT (job_id) ON tenantry.quarantine FROM tenantry_exporter")
        connection.execute("GRANT UPDATE ON tenantry.jobs TO tenantry_worker")
    assert granted.schema() != rights
    granted.done_as(CONTROLLER, "run", "--to", "columns")
    assert granted.schema() == rights


def test_a_worker_at_work_lacks_nothing_while_too_much_is_taken_back(granted: Privileged) -> None:
    granted.done_as(CONTROLLER, "run", "--to", "columns")
    may = "SELECT has_column_privilege('tenantry_worker', 'tenantry.jobs', 'state', 'UPDATE')::int"
    behind = "WHERE wait_event_type = 'Lock' AND query LIKE '%ledger_revoked%'"
    with psycopg.connect(granted.url) as other:
        other.execute("GRANT UPDATE ON tenantry.jobs, tenantry.migrations TO tenantry_worker")
        other.commit()
        # Behind this the run waits with one of the two taken back already.
        other.execute("GRANT UPDATE ON tenantry.migrations TO tenantry_exporter")
        with granted.started("run", "--to", "columns") as run:
            until(
                lambda: granted.count(f"SELECT count(*) FROM pg_stat_activity {behind}"),
                "a run that waits",
            )
            assert granted.count(may) == 1
            other.rollback()
            assert run.wait(60) == 0
    assert granted.count(may) == 1


@pytest.mark.parametrize("grant", ["roles", "worker"])
def test_a_run_whose_roles_are_not_there_says_so_before_it_begins(operator: Privileged, grant: str) -> None:
    if grant == "worker":
        operator.run_script(operator.script().replace(WORKER, "somebody"))
    ended = operator.as_("postgres", "run")
    assert ended.returncode == 2, ended.stderr
    assert "[roles] of the plan names tenantry_worker, and there is no such role" in complaint(ended.stderr)


def test_without_roles_in_the_plan_there_is_no_script(operator: Privileged) -> None:
    operator.edit("[roles]\n", "")
    ended = operator.as_("postgres", "roles", "--sql")
    assert ended.returncode == 2
    assert "the plan names no roles: add a section [roles]" in complaint(ended.stderr)


def test_tables_of_a_superuser_are_for_no_role_of_ours(operator: Privileged) -> None:
    with psycopg.connect(operator.url, autocommit=True) as connection:
        connection.execute("ALTER TABLE graph_relations OWNER TO postgres")
    ended = operator.as_("postgres", "roles", "--sql")
    assert ended.returncode == 2
    assert 'the superuser postgres owns "public"."graph_relations"' in complaint(ended.stderr)


def test_each_grant_is_shown_with_what_it_is_for(operator: Privileged) -> None:
    ended = operator.as_("postgres", "roles")
    assert ended.returncode == 0
    shown = ended.stdout.splitlines()
    of_worker = (
        'worker: GRANT SELECT, UPDATE ON TABLE "public"."graph_entities" TO "tenantry_worker"  a batch'
    )
    assert any(line.startswith(of_worker) for line in shown)
    script = operator.script().splitlines()
    begun = [at for at, line in enumerate(script) if line.startswith(("GRANT", "ALTER ROLE", "DO $"))]
    assert len(begun) == len(shown)
    for at, line in zip(begun, shown, strict=True):
        who, _, what = line.partition(": ")
        said, _, why = script[at - 1].removeprefix("-- ").partition(": ")
        assert said == who
        assert what.endswith(f"  {why}")


def test_a_name_with_line_breaks_does_not_get_out_of_the_script_s_comments(operator: Privileged) -> None:
    """A table that points to the plan's is named in a comment, and a superuser runs the script."""
    name = 'x\nALTER ROLE "graph_owner" SUPERUSER;\n--'
    with psycopg.connect(operator.url, autocommit=True) as connection:
        made = sql.SQL("CREATE TABLE {} (id text REFERENCES graph_entities (id)); ALTER TABLE {} OWNER TO {}")
        table = sql.Identifier(name)
        connection.execute(made.format(table, table, sql.Identifier(OWNER)))
    operator.run_script(operator.script())
    assert operator.count("SELECT count(*) FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'") == 0


def test_the_script_tells_where_everybody_may_create_and_takes_it_from_nobody(operator: Privileged) -> None:
    revoke = '-- REVOKE CREATE ON SCHEMA "public" FROM PUBLIC;'
    assert revoke not in operator.script().splitlines()
    with psycopg.connect(operator.url, autocommit=True) as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    script = operator.script()
    assert revoke in script.splitlines()
    operator.run_script(script)
    with psycopg.connect(operator.url_of(WORKER), autocommit=True) as worker:
        worker.execute("CREATE TABLE mine ()")


_SEPARATED = f"""
name = "multi-tenancy"
[database]
url = "env:DATABASE_URL"
[roles]
[verify]
role = "{VERIFIER}"
[tenant]
isolation = "separate_schema"
[[tables]]
name = "graph_entities"
tenant = {{ expression = "properties->>'org_id'" }}
[[tables]]
name = "graph_relations"
tenant = {{ parent = "graph_entities", on = {{ source_id = "id" }} }}
[redis]
"""


@pytest.mark.full
def test_a_schema_for_each_tenant_takes_no_more(operator: Privileged) -> None:
    operator.plan.write_text(f'{_SEPARATED}url = "{operator.queue}"\n')
    operator.run_script(operator.script())
    start = operator.schema()
    with operator.serving(WORKER, "worker"), operator.serving(EXPORTER, "exporter") as port:
        operator.done_as(CONTROLLER, "run", status=3)
        operator.done_as(CONTROLLER, "confirm", "application")
        operator.done_as(CONTROLLER, "run")
        operator.done_as(CONTROLLER, "verify")
        assert operator.count("SELECT count(*) FROM tenant_org_01.graph_relations") > 0
        assert _up(port)
        operator.done_as(CONTROLLER, "rollback", "--yes")
    assert operator.schema() == start
    assert _warned(operator.folder / "worker.log") == []
