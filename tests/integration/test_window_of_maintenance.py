"""`run --maintenance-window`: nobody else is there, so the same stages go without throttle and guard."""

import psycopg

from tests.integration.operating import Operator, complaint

_GUARDS = "SELECT count(*) FROM pg_trigger WHERE tgname = 'tenantry_guard'"


def _in_window(operator: Operator, status: int) -> str:
    ended = operator.tenantry("run", "--maintenance-window")
    assert ended.returncode == status, ended.stderr
    return complaint(ended.stderr) if status else ended.stdout


def test_it_is_refused_while_another_session_could_touch_the_tables(operator: Operator) -> None:
    before = operator.schema()
    with psycopg.connect(operator.url, application_name="the shop") as idle:
        told = _in_window(operator, 3)
        assert f"pid {idle.info.backend_pid} (postgres, the shop, idle" in told
        assert "Stop the application" in told
        assert operator.schema("--exclude-schema=tenantry") == before


def test_who_may_not_touch_the_tables_is_not_in_the_way(operator: Operator) -> None:
    with psycopg.connect(operator.url, autocommit=True) as superuser:
        superuser.execute("CREATE ROLE watcher LOGIN")
    try:
        with psycopg.connect(
            operator.server.url(operator.url.rpartition("/")[2].partition("?")[0], "watcher")
        ):
            assert "application waits" in _in_window(operator, 3)
    finally:
        with psycopg.connect(operator.url, autocommit=True) as superuser:
            superuser.execute("DROP ROLE watcher")


def test_it_says_when_to_deploy_to_test_and_to_resume_and_ends_as_the_other_way_does(
    operator: Operator,
) -> None:
    operator.edit('quiet = "1s"', 'quiet = "100ms"')
    told = _in_window(operator, 3)
    assert "Deploy the tenant-aware code without starting it" in told
    assert operator.count(_GUARDS) == 0
    settings = "SELECT (settings ->> 'throttle')::boolean::int FROM tenantry.migrations"
    assert operator.count(settings) == 0

    other = operator.tenantry("run")
    assert other.returncode == 2, "beside an application there is no guard for its rows"
    assert "was begun in a maintenance window" in complaint(other.stderr)

    operator.done("confirm", "application")
    told = _in_window(operator, 3)
    assert "Test the new code now" in told
    operator.done("confirm", "rls")
    assert "resume the application" in _in_window(operator, 0)
    in_window = operator.schema("--exclude-schema=tenantry")
    assert "row_security" in in_window.lower() or "ROW LEVEL SECURITY" in in_window

    operator.done("rollback", "--yes")
    operator.run_to("indexes", count=1)
    operator.run_to("rls")
    operator.done("run")
    assert operator.schema("--exclude-schema=tenantry") == in_window
