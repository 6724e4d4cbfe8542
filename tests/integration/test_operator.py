"""What an operator does where the way is not straight: pauses, goes back, edits the plan, lacks rights."""

import json
import subprocess
from collections.abc import Callable

import psycopg
import pytest

from tests.integration.operating import TENANTRY, Operator, complaint, nobody
from tests.waiting import until


def test_each_stage_is_walked_back_to_the_schema_that_it_left(operator: Operator) -> None:
    ledger = "--exclude-schema=tenantry"
    before = operator.schema()
    left: dict[str, str] = {}
    for stage in ("columns", "backfill", "indexes", "keys", "rls"):
        operator.run_to(stage, count=1 if stage == "backfill" else 0)
        left[stage] = operator.schema(ledger)
    # Not to `indexes`: the unique index of the new key goes with the key, to close the window of two keys.
    for stage in ("keys", "backfill", "columns"):
        operator.back_to(stage, nobody)
        assert operator.schema(ledger) == left[stage], stage
    operator.back_to(None, nobody)
    assert operator.schema() == before


@pytest.mark.parametrize("stage", ["backup", "columns"])
def test_a_way_back_from_an_early_stage_leaves_nothing(operator: Operator, stage: str) -> None:
    before = operator.schema()
    operator.run_to(stage)
    operator.done("rollback", "--yes")
    assert operator.schema() == before


def test_there_is_no_way_back_to_a_stage_that_is_not_done(operator: Operator) -> None:
    operator.run_to("columns")
    before = operator.done("status", "--json")
    ended = operator.tenantry("rollback", "--to", "rls", "--yes")
    assert ended.returncode == 2
    assert complaint(ended.stderr).startswith("tenantry: rls is not done")
    assert operator.done("status", "--json") == before


class _BrokenOffError(Exception):
    pass


def _after(notices: int) -> Callable[[str], None]:
    """Break off when so many things have been said."""
    said: list[str] = []

    def notify(line: str) -> None:
        said.append(line)
        if len(said) > notices:
            raise _BrokenOffError

    return notify


def test_a_run_after_a_way_back_that_broke_off_puts_back_what_was_undone(operator: Operator) -> None:
    operator.run_to("indexes", count=1)
    whole = operator.schema("--exclude-schema=tenantry")
    with pytest.raises(_BrokenOffError):
        operator.back_to("backfill", _after(2))
    assert operator.schema("--exclude-schema=tenantry") != whole
    operator.run_to("indexes")
    assert operator.schema("--exclude-schema=tenantry") == whole


def test_a_plan_that_no_longer_says_what_was_done_is_refused_by_its_line(operator: Operator) -> None:
    operator.run_to("columns")
    before = operator.schema()
    operator.edit('"tenant_id"', '"organisation"')
    text = operator.plan.read_text().splitlines()
    line = text.index('column = "organisation"') + 1
    for command in (["run"], ["check"], ["verify"], ["rollback", "--yes"]):
        ended = operator.tenantry(*command)
        assert ended.returncode == 2
        assert complaint(ended.stderr).startswith(
            f"tenantry: migration.toml:{line}: tenant.column was 'tenant_id' when 'multi-tenancy' began"
        )
    assert operator.schema() == before


def test_what_no_stage_has_done_yet_may_still_be_edited(operator: Operator) -> None:
    operator.run_to("columns")
    operator.edit("idx_entities_tenant_type", "by_type")
    operator.run_to("indexes", count=1)
    assert operator.count("SELECT count(*) FROM pg_class WHERE relname = 'by_type'") == 1


def test_a_table_that_is_not_there_is_named_with_its_line(operator: Operator) -> None:
    before = operator.schema()
    operator.edit('name = "graph_relations"', 'name = "graph_relatives"')
    text = operator.plan.read_text().splitlines()
    line = text.index('name = "graph_relatives"') + 1
    for command in ("check", "plan", "run"):
        ended = operator.tenantry(command)
        assert ended.returncode == 2
        assert complaint(ended.stderr) == (
            f"tenantry: migration.toml:{line}: table graph_relatives is not in this database; "
            "check its name and schema, or leave it out of the plan if it was dropped since the "
            "migration began"
        )
    assert operator.schema() == before


def test_a_backup_that_could_not_be_written_stops_a_run_before_anything_is_changed(
    operator: Operator,
) -> None:
    before = operator.schema()
    (operator.folder / "there").touch()
    with operator.plan.open("a") as plan:
        plan.write('[backup]\npath = "there"\n')
    ended = operator.tenantry("run")
    assert ended.returncode == 3
    assert "backup: there is there already" in complaint(ended.stderr)
    operator.edit('path = "there"', 'path = "nowhere/there"')
    assert "backup: there is no folder nowhere" in complaint(operator.tenantry("check").stderr)
    assert operator.schema() == before


def test_an_address_that_is_empty_is_not_taken_for_the_default_server(operator: Operator) -> None:
    ended = subprocess.run(
        [TENANTRY, "check"],
        cwd=operator.folder,
        env=operator.environment | {"DATABASE_URL": ""},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (
        2,
        "tenantry: the plan takes its address from $DATABASE_URL, which is not set; export it\n",
    )


def test_an_owner_who_may_not_make_indexes_is_stopped_before_anything_is_changed(operator: Operator) -> None:
    # Since PostgreSQL 15 the owner of a table in `public` is one, unless the database is his too.
    with psycopg.connect(operator.url, autocommit=True) as superuser:
        superuser.execute("CREATE ROLE owner LOGIN BYPASSRLS")
        database = superuser.info.dbname
        superuser.execute(f"GRANT CREATE ON DATABASE {database} TO owner".encode())
        try:
            for table in ("graph_entities", "graph_relations"):
                superuser.execute(f"ALTER TABLE {table} OWNER TO owner".encode())
            before = operator.schema()
            ended = Operator(
                operator.folder, operator.server.url(database, "owner"), operator.server, operator.queue
            ).tenantry("run")
            assert ended.returncode == 3
            assert "right to make indexes: public (GRANT CREATE ON SCHEMA … TO owner" in complaint(
                ended.stderr
            )
            assert operator.schema() == before
        finally:
            superuser.execute("REASSIGN OWNED BY owner TO postgres")
            superuser.execute("DROP OWNED BY owner")
            superuser.execute("DROP ROLE owner")


def test_a_pause_holds_a_run_that_goes_on_when_resumed(operator: Operator) -> None:
    unfilled = "SELECT count(*) FROM graph_relations WHERE tenant_id = ''"
    with (
        psycopg.connect(operator.url) as application,
        subprocess.Popen(
            [TENANTRY, "run", "--to", "backfill"],
            cwd=operator.folder,
            env=operator.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as run,
    ):
        there = "SELECT (to_regclass('tenantry.batches') IS NOT NULL)::int"
        until(lambda: operator.count(there), "the ledger")
        # Without this row the backfill can't end before it is paused, however slow the pause is to come.
        columns = "SELECT count(*) FROM tenantry.stages WHERE name = 'columns' AND state = 'done'"
        until(lambda: operator.count(columns), "the columns, which need a lock on the whole table")
        application.execute("SELECT FROM graph_relations ORDER BY id DESC LIMIT 1 FOR UPDATE")
        filled = "SELECT coalesce(sum(rows), 0) FROM tenantry.batches"
        until(lambda: operator.count(filled), "the first batch")
        operator.done("pause")
        # One that was begun before may wait for the row this very moment, and would have it.
        at_work = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%batch.fill%'"
        until(lambda: not operator.count(f"{at_work} AND pid <> pg_backend_pid()"), "its end")
        application.rollback()
        assert json.loads(operator.done("status", "--json"))["state"] == "paused"
        assert operator.tenantry("run").returncode == 1, "a second run beside the first"
        assert operator.count(unfilled) > 0
        assert run.poll() is None
        operator.done("resume")
        assert run.wait(60) == 0
    assert operator.count(unfilled) == 0


def test_a_paused_migration_is_not_run(operator: Operator) -> None:
    operator.run_to("columns")
    operator.done("pause")
    ended = operator.tenantry("run")
    assert (ended.returncode, complaint(ended.stderr)) == (
        3,
        "tenantry: run waits: the migration is paused. `tenantry resume` lets it go on",
    )
