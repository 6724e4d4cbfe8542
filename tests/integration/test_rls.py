"""Row-level security: what each mode lets through, what is counted, and when strict may come."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from control import unscoped
from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.policies import has_form as table_has_form
from control.policies import targets
from control.stage import Ground
from control.stages import columns, rls
from sql.errors import GateClosedError
from sql.postgres.connection import Connection, connect
from sql.postgres.rls import unscoped_accesses, unseeing
from tests.integration.migrated import fill, ground, plan_in, read, take, take_back
from tests.integration.policed import read_and_report
from tests.waiting import until

TENANT = "SELECT set_config('app.current_tenant_id', %s, false)"
SEEN = "SELECT count(*), count(DISTINCT tenant_id) FROM graph_entities"


@pytest.fixture
def operator(sample: str) -> Iterator[Connection]:
    """Our own session on a copy of the sample whose rows have their tenants."""
    with connect(sample, "test") as connection:
        take(columns.STAGE, ground(connection, plan_in("observe")))
        fill(connection)
        yield connection


@contextmanager
def application(operator: Connection, **options: Any) -> Iterator[Connection]:
    """A session of the application, which begins without a tenant."""
    with psycopg.connect(
        operator.info.dsn, user="graph_app", options="", autocommit=True, **options
    ) as session:
        yield session


def row(session: Connection, statement: str) -> tuple[Any, ...]:
    found = session.execute(statement).fetchone()
    assert found is not None
    return tuple(found)


def in_mode(operator: Connection, mode: str, before: Ground | None = None, **tenant: Any) -> Ground:
    original = None if before is None else before.original
    on = ground(operator, plan_in(mode, **tenant), original, confirmed=frozenset({"rls"}))
    take(rls.STAGE, on)
    return on


def counted(operator: Connection, calls: int) -> None:
    """Poll until that many accesses are counted: sessions report up to 10 s late, at their end at once."""
    until(lambda: unscoped_accesses(operator).calls >= calls, f"{calls} counted accesses")


@pytest.mark.parametrize("mode", ["observe", "permissive", "strict"])
def test_a_scoped_session_sees_its_own_rows_only_in_every_mode(operator: Connection, mode: str) -> None:
    in_mode(operator, mode)
    with application(operator) as session:
        session.execute(TENANT, ["org-07"])
        assert row(session, SEEN) == (40, 1)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            session.execute(
                "INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('x', 'x', 'org-08')"
            )


def test_observe_lets_an_unscoped_session_read_and_write_everything(operator: Connection) -> None:
    in_mode(operator, "observe")
    with application(operator) as session:
        assert row(session, SEEN) == (2000, 50)
        assert session.execute("DELETE FROM graph_relations").rowcount == 4000
        session.execute("INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('x', 'x', 'org-08')")


def test_permissive_shows_an_unscoped_session_the_legacy_tenant(operator: Connection) -> None:
    in_mode(operator, "permissive", legacy="org-03")
    with application(operator) as session:
        assert row(session, SEEN) == (40, 1)
        assert row(session, "SELECT min(tenant_id) FROM graph_entities") == ("org-03",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            session.execute(
                "INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('x', 'x', 'org-04')"
            )
        session.execute("INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('x', 'x', 'org-03')")


def test_strict_shows_an_unscoped_session_nothing_before_and_after_a_scoped_transaction(
    operator: Connection,
) -> None:
    in_mode(operator, "strict")
    with application(operator) as session:
        assert row(session, SEEN) == (0, 0)
        with session.transaction():
            session.execute("SET LOCAL app.current_tenant_id = 'org-01'")
            assert row(session, SEEN) == (40, 1)
        # The setting now reads '', not NULL.
        assert row(session, SEEN) == (0, 0)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            session.execute("INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('x', 'x', '')")


def test_the_tables_owner_is_not_excepted(operator: Connection) -> None:
    operator.execute("GRANT graph_app TO CURRENT_USER")
    operator.execute("ALTER TABLE graph_entities OWNER TO graph_app")
    in_mode(operator, "strict")
    with application(operator) as session:
        assert row(session, SEEN) == (0, 0)


@pytest.mark.parametrize("mode", ["permissive", "strict"])
def test_the_planner_takes_an_index_on_the_tenant_for_the_policy_alone(
    operator: Connection, mode: str
) -> None:
    in_mode(operator, mode, legacy="org-03")
    operator.execute("CREATE INDEX by_tenant ON graph_entities (tenant_id)")
    operator.execute("VACUUM ANALYZE graph_entities")
    with application(operator) as scoped, application(operator) as straggler:
        scoped.execute(TENANT, ["org-01"])
        straggler.execute(TENANT, [""])
        for session in (scoped, straggler):
            told = "\n".join(line for (line,) in session.execute("EXPLAIN SELECT * FROM graph_entities"))
            assert "Index Cond: (tenant_id =" in told
            assert "Seq Scan" not in told


def test_an_unscoped_access_in_a_read_only_transaction_is_counted(operator: Connection) -> None:
    in_mode(operator, "observe")
    with application(operator) as session:
        session.read_only = True
        row(session, SEEN)
    counted(operator, 1)


def test_it_is_counted_whatever_the_servers_own_setting_says(operator: Connection) -> None:
    in_mode(operator, "observe")
    operator.execute(f'ALTER DATABASE "{operator.info.dbname}" SET track_functions = none')
    with application(operator) as session:
        assert row(session, "SHOW track_functions") == ("none",)
        row(session, SEEN)
    counted(operator, 1)
    assert unscoped_accesses(operator).counting


def test_scoped_access_is_not_counted_in_parallel_plans_either(operator: Connection) -> None:
    in_mode(operator, "observe")
    with application(operator) as session:
        session.execute(TENANT, ["org-01"])
        row(session, SEEN)
        for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            session.execute(f"SET {setting} = 0")
        told = "\n".join(line for (line,) in session.execute("EXPLAIN SELECT count(*) FROM graph_entities"))
        assert "Gather" in told
        row(session, "SELECT count(*) FROM graph_entities")
    with application(operator) as session:
        row(session, SEEN)
    # The one unscoped query comes last: once it is counted, the others would have been too.
    counted(operator, 1)
    assert unscoped_accesses(operator).calls == 1


def test_strict_opens_after_the_quiet_time(operator: Connection) -> None:
    take(rls.STAGE, ground(operator, plan_in("strict", quiet="100ms")))
    assert has_form(operator, plan_in("strict"), "strict")


def has_form(operator: Connection, plan: Plan, mode: Any) -> bool:
    live = read(operator, plan)
    before = {name: t.model_copy(update={"row_security": False}) for name, t in live.tables.items()}
    original = live.model_copy(update={"tables": before})
    return all(table_has_form(plan, live, target, mode) for target in targets(plan, original))


def test_an_unscoped_access_keeps_strict_closed_and_says_who_is_at_work(operator: Connection) -> None:
    plan = plan_in("strict", quiet="400ms")
    said: list[str] = []
    with application(operator, application_name="billing report") as session:

        def disturb(line: str) -> None:
            """Read again each time that the gate says it waits."""
            said.append(line)
            read_and_report(session)

        with pytest.raises(GateClosedError) as closed:
            take(rls.STAGE, replace(ground(operator, plan), notify=disturb))
    assert closed.value.exit_status == 3
    assert re.search(r"graph_app: \d+ access(es)? without a tenant .* by billing report", str(closed.value))
    assert "tenantry confirm rls" in closed.value.opens
    assert has_form(operator, plan, "observe")


def test_the_quiet_time_outlives_the_controller(operator: Connection) -> None:
    plan = plan_in("strict", quiet="1h")
    on = ground(operator, plan)
    observing = ground(operator, plan_in("observe"), on.original)
    take(rls.STAGE, observing)
    with pytest.raises(_StoppedWaitingError):
        take(rls.STAGE, replace(on, notify=_stop))
    first = on.memory.recall(unscoped.MEMORY)
    with connect(operator.info.dsn, "test") as again, pytest.raises(_StoppedWaitingError):
        take(rls.STAGE, replace(on, connection=again, notify=_stop))
    assert on.memory.recall(unscoped.MEMORY) == first


class _StoppedWaitingError(Exception):
    """A test has seen enough of the waiting."""


def _stop(line: str) -> None:
    if line.startswith("rls: "):
        raise _StoppedWaitingError(line)


def test_forgotten_statistics_begin_the_quiet_time_again(operator: Connection) -> None:
    on = replace(ground(operator, plan_in("strict", quiet="1h")), notify=_stop)
    with pytest.raises(_StoppedWaitingError):
        take(rls.STAGE, on)
    first = on.memory.recall(unscoped.MEMORY)
    operator.execute("SELECT pg_stat_reset()")

    def begun_again() -> bool:
        with pytest.raises(_StoppedWaitingError):
            take(rls.STAGE, on)
        return on.memory.recall(unscoped.MEMORY) != first

    # PostgreSQL 14 resets when its collector comes to it.
    until(begun_again, "a new quiet time")


def test_the_operators_word_opens_strict_at_once(operator: Connection) -> None:
    take(rls.STAGE, ground(operator, plan_in("strict", quiet="1h"), confirmed=frozenset({"rls"})))
    assert has_form(operator, plan_in("strict"), "strict")


def test_a_role_bridged_by_a_default_tenant_keeps_strict_closed(operator: Connection) -> None:
    database = operator.info.dbname
    operator.execute(f"ALTER ROLE graph_app IN DATABASE \"{database}\" SET app.current_tenant_id = 'org-01'")
    with pytest.raises(GateClosedError, match="graph_app begins its sessions as 'org-01'"):
        take(rls.STAGE, ground(operator, plan_in("strict")))


def test_a_role_that_cannot_be_counted_keeps_strict_closed(operator: Connection) -> None:
    on = ground(operator, plan_in("strict"))
    take(rls.STAGE, replace(on, plan=plan_in("observe")))
    # As a role without the right to set track_functions leaves it, on a server where it is off.
    operator.execute("ALTER FUNCTION tenantry_rls.unscoped(name) RESET track_functions")
    operator.execute("SET track_functions = none")
    with pytest.raises(GateClosedError, match="can't be counted"):
        take(rls.STAGE, on)


@pytest.mark.parametrize("way", [("strict", "observe"), ("permissive", "strict"), ("observe", "permissive")])
def test_a_plan_that_changes_its_mode_takes_the_policies_along(
    operator: Connection, way: tuple[str, str]
) -> None:
    first, second = way
    in_mode(operator, second, in_mode(operator, first))
    assert has_form(operator, plan_in(second), second)


def test_what_counts_stays_while_another_migration_observes_by_it(operator: Connection) -> None:
    first, second = plan_in("observe"), plan_in("strict")
    entities = first.model_copy(update={"tables": first.tables[:1]})
    relations = second.model_copy(update={"tables": second.tables[1:]})
    observing = ground(operator, entities)
    take(rls.STAGE, observing)
    over = ground(operator, relations, confirmed=frozenset({"rls"}))
    take(rls.STAGE, over)
    take_back(rls.STAGE, over)
    assert unscoped_accesses(operator).counting
    take_back(rls.STAGE, observing)
    assert operator.execute("SELECT to_regnamespace('tenantry_rls')").fetchone() == (None,)


def test_what_counts_goes_though_an_earlier_version_made_only_a_part_of_it(operator: Connection) -> None:
    on = ground(operator, plan_in("observe"))
    take(rls.STAGE, on)
    operator.execute("DROP FUNCTION tenantry_rls.unseen(name)")
    take_back(rls.STAGE, on)
    assert operator.execute("SELECT to_regnamespace('tenantry_rls')").fetchone() == (None,)


def test_a_policy_is_known_again_whatever_names_and_texts_it_holds(operator: Connection) -> None:
    odd = plan_in("permissive", legacy='le\'ga  cy\\ (::text) "X"', setting="app.Current_tenant")
    on = ground(operator, odd)
    take(rls.STAGE, on)
    assert has_form(operator, odd, "permissive")
    assert not has_form(operator, plan_in("permissive", legacy='le\'ga cy\\ (::text) "X"'), "permissive")
    take_back(rls.STAGE, on)


def test_permissive_leaves_nothing_behind_that_no_policy_calls(operator: Connection) -> None:
    in_mode(operator, "permissive")
    assert "tenantry_rls" not in read(operator, plan_in("permissive")).schemas


def test_who_sees_nothing_in_strict_is_counted_and_nobody_else(operator: Connection) -> None:
    assert not unseeing(operator)
    in_mode(operator, "strict")
    assert unseeing(operator)
    with application(operator, application_name="shop") as session:
        session.execute(TENANT, ["org-01"])
        assert row(session, SEEN) == (40, 1)
    # As `verify` does: it tries what a session without a tenant sees.
    with application(operator, application_name="tenantry verify") as ours:
        assert row(ours, SEEN) == (0, 0)
    with application(operator, application_name="shop") as straggler:
        assert row(straggler, SEEN) == (0, 0)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            straggler.execute("INSERT INTO graph_entities (id, entity_type) VALUES ('lost', 'x')")
    counted(operator, 2)
    assert unscoped_accesses(operator).calls == 2


@pytest.mark.parametrize("mode", ["observe", "permissive", "strict"])
def test_undoing_restores_the_schema_byte_for_byte(
    operator: Connection, postgres: EmbeddedPostgres, mode: str
) -> None:
    on = ground(operator, plan_in(mode), confirmed=frozenset({"rls"}))
    before = dumped(postgres, operator)
    take(rls.STAGE, on)
    assert dumped(postgres, operator) != before
    take_back(rls.STAGE, on)
    assert dumped(postgres, operator) == before


def dumped(server: EmbeddedPostgres, connection: Connection) -> str:
    return server.run("pg_dump", "-s", "--restrict-key=x", connection.info.dbname).stdout


def test_steps_say_the_lock_that_they_take(operator: Connection) -> None:
    on = ground(operator, plan_in("strict"))
    for step in rls.STAGE.steps(on.plan, on.original):
        with operator.transaction(force_rollback=False):
            if step.done(read(operator, on.plan)):
                continue
            operator.execute(step.statement)
            held = operator.execute(
                "SELECT mode FROM pg_locks "
                "WHERE pid = pg_backend_pid() AND relation::regclass::text LIKE 'graph%'"
            ).fetchall()
            strongest = "AccessExclusiveLock" if step.lock == "ACCESS EXCLUSIVE" else None
            assert (strongest in {mode for (mode,) in held}) == (strongest is not None), step.what
