"""`report` of a SQLite file's migration."""

import json
import re
from pathlib import Path

import pytest

from control.plan.writing import toml
from sql.errors import CancelledError
from tests.integration.sqlite.filled import run
from tests.integration.sqlite.graph_plan import application, migrate, plan_of
from tests.integration.typist import typed


def _folder(graph: Path) -> Path:
    plan = plan_of(Path("graph.db"))
    (graph.parent / "migration.toml").write_text(toml(plan))
    return graph.parent


def test_a_finished_one_has_its_stages_rows_statements_and_checks(graph: Path) -> None:
    migrate(graph)
    folder = _folder(graph)
    told = typed(["report", "--json"], folder=folder, environment={})
    assert told.returncode == 0, told.stderr
    account = json.loads(told.stdout)
    assert account["server"]["kind"] == "SQLite"
    assert account["status"]["state"] == "complete"
    assert {stage["state"] for stage in account["stages"]} == {"done"}
    assert all(stage["cost"]["wal_bytes"] is None for stage in account["stages"])
    assert sum(one["filled"] for one in account["rates"]) == 600
    assert {check["ok"] for check in account["checks"]} <= {True, None}
    assert any(event["statement"] and event["took_ms"] is not None for event in account["events"])
    written = typed(["report", "--html"], folder=folder, environment={})
    assert written.stdout.startswith("graph-report.html: Complete, ")
    page = (folder / "graph-report.html").read_text()
    assert "SQLite" in page
    assert "Rows per second" in page
    assert typed(["report", "--bundle"], folder=folder, environment={}).returncode == 0
    assert (folder / "graph-report.tar.gz").is_file()


def test_one_half_way_says_so(graph: Path) -> None:
    migrate(graph, to="columns")
    told = typed(["report"], folder=_folder(graph), environment={})
    assert told.returncode == 0, told.stderr
    assert "Not finished" in told.stdout


def test_one_in_the_middle_of_its_backfill_says_how_far_it_is(graph: Path) -> None:
    def cancel() -> None:
        with application(graph) as connection:
            if connection.execute("SELECT sum(rows) FROM tenantry_batches").fetchone()[0]:
                connection.execute("UPDATE tenantry_migrations SET state = 'cancelled'")

    with pytest.raises(CancelledError):
        run(plan_of(graph, backfill={"first_batch": 100}), beside=cancel, before="SELECT j.id, j.table_name")
    told = typed(["report", "--json"], folder=_folder(graph), environment={})
    assert told.returncode == 0, told.stderr
    assert 0 < sum(one["filled"] for one in json.loads(told.stdout)["rates"]) < 600
    said = typed(["report", "--html"], folder=graph.parent, environment={}).stdout
    assert "Not finished: this is how it stood when the report was made. The migration is cancelled" in said
    assert re.search(r"entities \d+% filled", said)


def test_where_there_is_no_migration_that_is_said(graph: Path) -> None:
    told = typed(["report"], folder=_folder(graph), environment={})
    assert told.returncode == 2
    assert "no migration 'graph' in this database" in told.stderr
