"""Unique constraints and indexes that come to hold within each tenant, and all of them that is kept."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from control import dry_run
from control.embedded.postgres import EmbeddedPostgres
from control.locks import take
from control.plan.model import Plan
from control.plan.reading import read_plan
from control.preflight import keys as preflight
from control.preflight.estimate import estimates
from control.preflight.finding import Finding
from control.stages import backfill, columns, indexes, keys
from control.verification.checklist import run_checks
from sql.errors import PlanError
from sql.postgres.connection import connect
from tests.integration.finished import failed
from tests.integration.migrated import ground
from tests.integration.walking import STAGES, Walker
from tests.servers import VARIABLE
from tests.waiting import until

#: That NULLs are each other's equals can be said from PostgreSQL 15 on.
NOT_DISTINCT = "" if os.environ.get(VARIABLE) == "14" else "NULLS NOT DISTINCT"

#: Every kind, each with what an exchange could lose of it; and foreign keys onto two of them.
SCHEMA = f"""
CREATE TABLE account (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email text NOT NULL,
  handle varchar(40),
  badge integer,
  "of %s" text COLLATE "C",
  deleted boolean NOT NULL DEFAULT false,
  org text NOT NULL,
  CONSTRAINT account_email_key UNIQUE (email) INCLUDE (handle) WITH (fillfactor = 70),
  CONSTRAINT "its ""badge"" key" UNIQUE {NOT_DISTINCT} (badge) DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON CONSTRAINT account_email_key ON account IS 'who it''s about';
COMMENT ON INDEX account_email_key IS 'and its index';
CREATE UNIQUE INDEX "by %s {{}}" ON account (lower(handle), "of %s" COLLATE "POSIX" DESC)
  INCLUDE (badge) WITH (fillfactor = 80) WHERE NOT deleted;
COMMENT ON INDEX "by %s {{}}" IS 'one of each';
ALTER INDEX "by %s {{}}" ALTER COLUMN 1 SET STATISTICS 77;
CREATE UNIQUE INDEX account_pattern ON account (email text_pattern_ops DESC NULLS LAST, org);
CREATE UNIQUE INDEX account_identity ON account (email, org);
ALTER TABLE account CLUSTER ON account_pattern;
ALTER TABLE account REPLICA IDENTITY USING INDEX account_identity;
CREATE TABLE session (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email text NOT NULL REFERENCES account (email) ON DELETE CASCADE ON UPDATE CASCADE,
  badge integer,
  who text, at text,
  CONSTRAINT pair FOREIGN KEY (who, at) REFERENCES account (email, org) DEFERRABLE,
  org text NOT NULL
);
INSERT INTO account (email, handle, badge, "of %s", org)
SELECT 'a' || n || '@x', 'H' || n, n, 'c', CASE n % 2 WHEN 0 THEN 'acme' ELSE 'zenith' END
FROM generate_series(1, 40) AS n;
INSERT INTO session (email, who, at, org) SELECT email, email, org, org FROM account;
"""

NAMES = ("account_email_key", 'its "badge" key', "by %s {}", "account_pattern", "account_identity")

PLAN: dict[str, Any] = {
    "name": "unique",
    "database": {"url": "postgresql:///"},
    "tenant": {"sentinel": "null"},
    "tables": [
        {"name": "account", "tenant": {"expression": "org"}, "unique": NAMES},
        {"name": "session", "tenant": {"parent": "account", "on": {"email": "email"}}},
    ],
}

FILL = "UPDATE account SET tenant_id = org WHERE tenant_id IS NULL; UPDATE session SET tenant_id = org"


@pytest.fixture
def walker(database: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker at the start."""
    with connect(database, "test") as connection:
        connection.execute(SCHEMA)
        yield Walker(connection, Plan.model_validate(PLAN), postgres)


@contextmanager
def _walker_on(server: EmbeddedPostgres, name: str) -> Iterator[Walker]:
    with psycopg.connect(server.url(), autocommit=True) as operator:
        operator.execute(f"CREATE DATABASE {name}".encode())
        with connect(server.url(name), "test") as connection:
            connection.execute(SCHEMA)
            connection.execute("ANALYZE account, session")
            yield Walker(connection, Plan.model_validate(PLAN), server)
        operator.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def begun(postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker at the start, for tests that leave everything as it is."""
    with _walker_on(postgres, "unique_begun") as walker:
        yield walker


@pytest.fixture
def before(begun: Walker) -> Iterator[Walker]:
    """The same, with whatever a test changes taken back."""
    with begun.connection.transaction(force_rollback=True):
        yield begun


@pytest.fixture(scope="module")
def finished(postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker past `keys`, for tests that leave everything as it is."""
    with _walker_on(postgres, "unique_finished") as walker:
        _to_keys(walker)
        yield walker


@pytest.fixture
def after(finished: Walker) -> Iterator[Walker]:
    """The same, with whatever a test changes taken back."""
    with finished.connection.transaction(force_rollback=True):
        yield finished


def _to_keys(walker: Walker) -> None:
    for stage in STAGES:
        walker.there(stage)
        if stage is columns.STAGE:
            walker.connection.execute(FILL)


def test_every_stage_goes_back_to_the_schema_it_came_from(walker: Walker) -> None:
    """With foreign keys, comments, CLUSTER, replica identity, storage and statistics targets."""
    schemas = []
    for stage in STAGES:
        schemas.append(walker.schema())
        walker.there(stage)
        if stage is columns.STAGE:
            walker.connection.execute(FILL)
    for stage in reversed(STAGES):
        walker.back(stage)
        before = schemas.pop()
        if stage is not keys.STAGE:
            assert walker.schema() == before, stage.name


def test_the_old_ones_come_back_from_the_middle_of_the_way_there(walker: Walker) -> None:
    """With those of the foreign keys that lean on them."""
    walker.there(columns.STAGE)
    walker.connection.execute(FILL)
    before = walker.schema()
    length = len(walker.there(keys.STAGE))
    walker.back(keys.STAGE)
    for steps in (length // 2, length - 4):
        assert len(walker.there(keys.STAGE, most=steps)) == steps
        walker.back(keys.STAGE)
        assert walker.schema() == before, f"back after {steps} steps"


@dataclass
class Writer:
    """Brings an account with a session, tries to bring its email again, and deletes every other one."""

    url: str
    stop: threading.Event = field(default_factory=threading.Event)
    operations: int = 0
    asked: int = 0
    twice: int = 0
    error: psycopg.Error | None = None

    def run(self) -> None:
        """Until told to stop, or until an error."""
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                while not self.stop.is_set():
                    self._write(connection, {"email": f"{self.operations}@new"})
                    self.operations += 1
        except psycopg.Error as error:
            self.error = error

    def goes_on(self) -> bool:
        """Whether it has written since it was last asked, or can't any more."""
        asked, self.asked = self.asked, self.operations
        return self.operations > asked or self.error is not None

    def _write(self, connection: psycopg.Connection, named: dict[str, str]) -> None:
        bring = (
            "INSERT INTO account (email, handle, badge, org) "
            "SELECT %(email)s, %(email)s::text, max(badge) + 1, 'acme' FROM account"
        )
        connection.execute(bring, named)
        connection.execute("INSERT INTO session (email, org) VALUES (%(email)s, 'acme')", named)
        try:
            connection.execute(bring, named)
            self.twice += 1
        except errors.UniqueViolation:
            pass
        connection.execute("UPDATE account SET handle = 'x' || handle WHERE email = %(email)s", named)
        if self.operations % 2:
            connection.execute("DELETE FROM account WHERE email = %(email)s", named)


def test_at_no_moment_may_a_value_stand_in_one_tenant_twice_and_no_write_fails(
    walker: Walker, database: str
) -> None:
    """There and back, under an application that writes all the time."""
    walker.there(columns.STAGE)
    walker.connection.execute(FILL)
    writer = Writer(database)
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        for steps in (keys.STAGE.steps, keys.STAGE.undo):
            for step in steps(walker.plan, walker.original):
                if not step.done(walker.live()):
                    take(walker.connection, step, notify=lambda _: None)
                    until(writer.goes_on, f"a write after {step.what}")
    finally:
        writer.stop.set()
        thread.join()
    assert (writer.error, writer.twice) == (None, 0)


def test_the_script_of_a_dry_run_leads_to_the_same_schema(
    walker: Walker, finished: Walker, tmp_path: Path
) -> None:
    on = ground(walker.connection, walker.plan)
    stages = (columns.STAGE, backfill.STAGE, indexes.STAGE, keys.STAGE)
    script = tmp_path / "script.sql"
    script.write_text("\n".join(dry_run.script(stages, on)))
    url = walker.server.url(walker.connection.info.dbname)
    walker.server.run("psql", "--quiet", "-v", "ON_ERROR_STOP=1", "-f", str(script), url)
    assert walker.schema() == finished.schema()


def test_what_an_exchange_could_lose_is_there_after_it(finished: Walker) -> None:
    now, was = finished.live().table("account"), finished.original.table("account")
    facts = (
        *("include", "options", "tablespace", "constraint", "comment", "predicate", "nulls_not_distinct"),
        *("clustered", "replica_identity", "statistics", "valid"),
    )
    for name in NAMES:
        index, old = now.index(name), was.index(name)
        assert index is not None
        assert old is not None
        assert {fact: getattr(index, fact) for fact in facts} == {fact: getattr(old, fact) for fact in facts}
        assert index.columns == (*old.columns, "tenant_id")
        assert index.keys[:-1] == old.keys
        constraint, before = now.constraint(name), was.constraint(name)
        if before is not None:
            assert constraint is not None
            kept = ("kind", "deferrable", "deferred", "comment")
            assert {f: getattr(constraint, f) for f in kept} == {f: getattr(before, f) for f in kept}


_SECOND = """
INSERT INTO account (email, handle, badge, "of %s", org, tenant_id, deleted)
SELECT email, handle, badge, "of %s", org, {tenant}, deleted FROM account WHERE email = 'a1@x'
"""


def test_two_tenants_may_have_the_same_values(after: Walker) -> None:
    after.connection.execute(sql.SQL(_SECOND).format(tenant=sql.Literal("third")))
    after.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("handle = 'other', badge = 0", "account_email_key"),
        ("email = 'other', handle = 'other'", 'its "badge" key'),
        ("email = 'other', badge = 0, handle = lower(handle)", "by %s {}"),
    ],
)
def test_one_tenant_may_not_have_the_same_value_twice(after: Walker, change: str, broken: str) -> None:
    """The email, the badge, the handle in whatever case."""
    connection = after.connection
    connection.execute("CREATE TEMPORARY TABLE again AS SELECT * FROM account WHERE email = 'a1@x'")
    connection.execute("ALTER TABLE again DROP COLUMN id")
    connection.execute(f"UPDATE again SET {change}".encode())
    columns = 'email, handle, badge, "of %s", deleted, org, tenant_id'
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    with pytest.raises(errors.UniqueViolation) as refused:
        connection.execute(f"INSERT INTO account ({columns}) SELECT {columns} FROM again".encode())
    assert refused.value.diag.constraint_name == broken


def test_a_row_without_a_tenant_is_refused_where_it_would_be_unique_in_none(after: Walker) -> None:
    after.connection.execute("ALTER TABLE account DISABLE TRIGGER USER")
    with pytest.raises(errors.NotNullViolation):
        after.connection.execute(sql.SQL(_SECOND).format(tenant=sql.SQL("NULL")))


def test_a_foreign_key_holds_the_tenant_and_does_what_it_did(after: Walker) -> None:
    connection = after.connection
    connection.execute("UPDATE session SET who = NULL, at = NULL WHERE email = 'a1@x'")
    connection.execute("UPDATE account SET email = 'new@x' WHERE email = 'a1@x'")
    session = connection.execute("SELECT tenant_id FROM session WHERE email = 'new@x'").fetchall()
    assert session == [("zenith",)]
    with pytest.raises(errors.ForeignKeyViolation), connection.transaction():
        connection.execute("UPDATE session SET tenant_id = 'acme' WHERE email = 'new@x'")
    connection.execute("DELETE FROM account WHERE email = 'new@x'")
    assert connection.execute("SELECT count(*) FROM session").fetchone() == (39,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("handle = 'other', badge = 0", "account: email = a1@x is there for tenant 'third' and for 'zenith'"),
        ("email = 'other', handle = 'other'", "account: badge = 1 is there"),
        ("email = 'other', badge = 0, handle = lower(handle)", "account: lower((handle)::text), of %s = h1"),
    ],
)
def test_a_value_in_two_tenants_bars_the_way_back_and_is_named(after: Walker, change: str, said: str) -> None:
    def asked() -> str | None:
        return keys.cannot_undo(after.connection, after.plan, after.original)

    assert asked() is None
    after.connection.execute(sql.SQL(_SECOND).format(tenant=sql.Literal("third")))
    after.connection.execute(f"UPDATE account SET {change} WHERE tenant_id = 'third'".encode())
    reason = asked()
    assert reason is not None
    assert reason.startswith(said)


def test_a_value_outside_of_the_predicate_and_nulls_bar_nothing(after: Walker) -> None:
    after.connection.execute(sql.SQL(_SECOND).format(tenant=sql.Literal("third")))
    after.connection.execute(
        "UPDATE account SET email = 'other', badge = 0, deleted = true WHERE tenant_id = 'third'"
    )
    assert keys.cannot_undo(after.connection, after.plan, after.original) is None
    after.connection.execute("UPDATE account SET deleted = false, handle = NULL")
    assert keys.cannot_undo(after.connection, after.plan, after.original) is None


def test_what_the_plan_does_not_name_stays_unique_in_all_tenants_together(
    database: str, postgres: EmbeddedPostgres
) -> None:
    """And so do the foreign keys onto it, of which verify asks no tenant, though the primary key holds it."""
    tables = [
        {"name": "coded", "tenant": {"constant": "acme"}, "primary_key": ["id", "tenant_id"]},
        {"name": "naming", "tenant": {"constant": "acme"}},
    ]
    with connect(database, "test") as connection:
        connection.execute(
            "CREATE TABLE coded (id int PRIMARY KEY, code text UNIQUE);"
            "CREATE TABLE naming (code text REFERENCES coded (code)); INSERT INTO coded VALUES (1, 'a')"
        )
        walker = Walker(connection, Plan.model_validate(PLAN | {"tables": tables}), postgres)
        before = walker.original.table("naming").foreign_keys
        for stage in STAGES:
            walker.there(stage)
        assert walker.live().table("naming").foreign_keys == before
        with pytest.raises(errors.UniqueViolation):
            connection.execute("INSERT INTO coded VALUES (2, 'a', 'zenith')")
        checks = run_checks(ground(connection, walker.plan, walker.original))
        assert "naming: foreign keys" in {check.name for check in checks if check.ok}
        assert not any("unique" in check.name for check in checks)


#: What breaks the check of a table's uniques, and is no other check's.
BROKEN = {
    "gone": 'DROP INDEX "by %s {}"',
    "without the tenant": """
        ALTER TABLE account DROP CONSTRAINT "its ""badge"" key",
          ADD CONSTRAINT "its ""badge"" key" UNIQUE (badge)
    """,
    "for other rows": """
        DROP INDEX "by %s {}";
        CREATE UNIQUE INDEX "by %s {}" ON account (lower(handle), "of %s" COLLATE "POSIX" DESC, tenant_id)
          INCLUDE (badge)
    """,
    "a constraint no more": """
        ALTER TABLE account DROP CONSTRAINT "its ""badge"" key";
        CREATE UNIQUE INDEX "its ""badge"" key" ON account (badge, tenant_id) NOT_DISTINCT
    """,
}


@pytest.mark.parametrize("broken", BROKEN)
def test_verify_tells_of_what_is_not_unique_within_each_tenant_and_of_nothing_else(
    after: Walker, broken: str
) -> None:
    on = ground(after.connection, after.plan, after.original)
    before = run_checks(on)
    held = {check.name for check in before if check.ok}
    assert {"account: unique within each tenant", "session: foreign keys"} <= held
    after.connection.execute(BROKEN[broken].replace("NOT_DISTINCT", NOT_DISTINCT).encode())
    assert failed(run_checks(on)) - failed(before) == {"account: unique within each tenant"}


def test_the_plan_tells_the_statements_and_the_estimate_holds_the_indexes(before: Walker) -> None:
    on = ground(before.connection, before.plan)
    told = [one.what for one in dry_run.statements(STAGES, on)]
    for name in NAMES:
        assert sum(name in what for what in told) >= 2, name
    without = [table | {"unique": []} for table in PLAN["tables"]]
    bare = ground(before.connection, Plan.model_validate(PLAN | {"tables": without}))
    disk = [{e.stage: e for e in estimates(of)}["indexes"].disk_bytes for of in (bare, on)]
    assert disk[0] == 0 < disk[1]


def _findings(walker: Walker) -> dict[str, Finding]:
    on = ground(walker.connection, walker.plan, walker.live())
    return {finding.name: finding for finding in preflight.look(on)}


def test_preflight_says_what_a_deferrable_one_cannot_do_for_a_while(before: Walker) -> None:
    found = _findings(before)
    assert found["unique within each tenant"].fact == 'its "badge" key'
    assert found["unique within each tenant"].level == "warn"
    assert {finding.level for name, finding in found.items() if name != "unique within each tenant"} == {
        "pass"
    }


def test_preflight_names_a_function_that_leans_on_a_constraint(before: Walker) -> None:
    before.connection.execute(
        "CREATE FUNCTION join_in() RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO account (email, org) "
        "VALUES ('x', 'y') ON CONFLICT ON CONSTRAINT account_email_key DO NOTHING; END"
    )
    found = _findings(before)["what leans on what is to be unique within each tenant"]
    assert found.level == "stop"
    assert found.fact == "function join_in() on account_email_key of account"


def test_the_keys_wait_for_a_column_list_that_lacks_the_tenant_of_a_replica_identity(walker: Walker) -> None:
    if walker.connection.info.server_version < 150_000:
        pytest.skip("column lists are PostgreSQL 15's")
    walker.connection.execute("CREATE PUBLICATION feed FOR TABLE account (id, email, org)")
    assert _findings(walker)["publications of changing keys"].fact == "feed (columns of account)"
    walker.there(columns.STAGE)
    walker.connection.execute(FILL)
    assert keys.STAGE.gate(ground(walker.connection, walker.plan, walker.original)) is not None
    walker.connection.execute("ALTER PUBLICATION feed SET TABLE account (id, email, org, tenant_id)")
    assert keys.STAGE.gate(ground(walker.connection, walker.plan, walker.original)) is None
    walker.there(keys.STAGE)
    walker.connection.execute("UPDATE account SET handle = 'updated' WHERE email = 'a1@x'")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "CREATE TABLE outside (email text REFERENCES account (email))",
            "outside_email_fkey of public.outside points to account_email_key of account",
        ),
        (
            "ALTER TABLE session ADD FOREIGN KEY (who) REFERENCES account (email) ON UPDATE SET NULL",
            "session_who_fkey of session sets its columns to NULL",
        ),
    ],
    ids=["from outside the plan", "ON UPDATE SET NULL"],
)
def test_a_foreign_key_that_cannot_be_carried_over_stops(before: Walker, change: str, said: str) -> None:
    before.connection.execute(change.encode())
    found = _findings(before)["foreign keys onto changing keys"]
    assert found.level == "stop"
    assert said in found.fact


@pytest.mark.parametrize(
    ("made", "said", "since"),
    [
        (
            "CREATE TABLE other (id int, CONSTRAINT this UNIQUE (id)) PARTITION BY HASH (id)",
            "this of other would have to become unique per tenant partition by partition",
            14,
        ),
        (
            "CREATE TABLE other (id int4range, at tsrange, CONSTRAINT this UNIQUE (id, at WITHOUT OVERLAPS))",
            "this of other is no btree",
            18,
        ),
    ],
    ids=["of a partitioned table", "WITHOUT OVERLAPS"],
)
def test_what_cannot_be_exchanged_stops(before: Walker, made: str, said: str, since: int) -> None:
    if before.connection.info.server_version < since * 10_000:
        pytest.skip(f"PostgreSQL {since} knows it first")
    before.connection.execute(made.encode())
    other = {"name": "other", "tenant": {"constant": "acme"}, "unique": ["this"]}
    plan = Plan.model_validate(PLAN | {"tables": [*PLAN["tables"], other]})
    findings = preflight.look(ground(before.connection, plan))
    found = next(finding for finding in findings if finding.name == "foreign keys onto changing keys")
    assert found.level == "stop"
    assert said in found.fact


_FILE = """
name = "unique"
[database]
url = "env:DATABASE_URL"
[[tables]]
name   = "account"
tenant = { expression = "org" }
unique = [
  "account_email_key",
  "WRONG",
]
"""

WRONG = {
    "account_emial_idx": "account has no unique constraint or index 'account_emial_idx'",
    "account_patern": "did you mean 'account_pattern'?",
    "account_pkey": "'account_pkey' is the primary key of account",
    "account_org": "'account_org' of account is not unique",
    "account_tenant": "'account_tenant' of account holds tenant_id already",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_name_that_is_no_such_key_is_an_error_at_its_line(
    before: Walker, tmp_path: Path, name: str
) -> None:
    before.connection.execute(
        "CREATE INDEX account_org ON account (org); ALTER TABLE account ADD tenant_id text;"
        "CREATE UNIQUE INDEX account_tenant ON account (tenant_id, handle)"
    )
    (tmp_path / "migration.toml").write_text(_FILE.replace("WRONG", name))
    plan = read_plan(tmp_path / "migration.toml")
    with pytest.raises(PlanError) as refused:
        list(preflight.look(ground(before.connection, plan)))
    assert refused.value.line == 10
    assert WRONG[name] in refused.value.reason
