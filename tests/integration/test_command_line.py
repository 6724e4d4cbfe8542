"""One migration from `init` to `rollback`, by the commands that an operator types."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.status import STAGES
from tests.integration.operating import TENANTRY
from tests.integration.typist import typed

#: What is looked for where no password may be.
SECRET = "hunter2"


@dataclass
class Walk:
    """What the commands said and did, in the order of their names here."""

    folder: Path
    server: EmbeddedPostgres
    ended: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    dumps: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def tenantry(self, *arguments: str, name: str | None = None) -> subprocess.CompletedProcess[str]:
        """Type a command; the runs are the program as it is installed, with all that it has to load."""
        environment = os.environ | {"DATABASE_URL": f"{self.server.url('migrated')}&password={SECRET}"}
        if arguments[0] == "run":
            ended = subprocess.run(
                [TENANTRY, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        else:
            ended = typed(arguments, folder=self.folder, environment=environment)
        self.ended[name or " ".join(arguments)] = ended
        return ended

    def dump(self, database: str, name: str) -> None:
        """Keep the schema of a database, but for the ledger's."""
        schema = self.server.run(
            *("pg_dump", "--schema-only", "--restrict-key=x", "--exclude-schema=tenantry"),
            self.server.url(database),
        )
        self.dumps[name] = schema.stdout


def _rows(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT id, tenant_id FROM graph_entities UNION ALL SELECT id, tenant_id FROM graph_relations"
        )
        return sorted(rows.fetchall())


@pytest.fixture(scope="module")
def walk(
    postgres: EmbeddedPostgres, sample_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walk]:
    """The whole way: there in two runs, checked, compared with the script, and back."""
    walk = Walk(tmp_path_factory.mktemp("operator"), postgres)
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        for name in ("migrated", "scripted"):
            operator.execute(f"CREATE DATABASE {name} TEMPLATE {sample_template}")
    walk.dump("migrated", "before")
    walk.tenantry("init")
    plan = walk.folder / "migration.toml"
    plan.write_text(plan.read_text().replace('quiet = "10m"', 'quiet = "1s"'))
    walk.tenantry("plan", "--json")
    script = walk.tenantry("plan", "--sql").stdout
    (walk.folder / "script.sql").write_text(script)
    postgres.run(
        "psql", "-v", "ON_ERROR_STOP=1", "-f", str(walk.folder / "script.sql"), postgres.url("scripted")
    )
    walk.dump("scripted", "scripted")
    walk.tenantry("check")
    walk.tenantry("run", name="first run")
    walk.tenantry("plan", "--sql", name="plan in the middle")
    walk.tenantry("confirm", "application")
    walk.tenantry("run", "--json", name="second run")
    walk.dump("migrated", "migrated")
    walk.tenantry("status", "--json")
    walk.tenantry("verify", "--json")
    walk.tenantry("events", "--json")
    walk.rows = {name: _rows(postgres.url(name)) for name in ("migrated", "scripted")}
    walk.tenantry("rollback")
    walk.tenantry("rollback", "--yes")
    walk.dump("migrated", "after")
    yield walk
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        for name in ("migrated", "scripted"):
            operator.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_every_command_of_the_way_ends_as_it_should(walk: Walk) -> None:
    statuses = {name: ended.returncode for name, ended in walk.ended.items()}
    assert statuses == dict.fromkeys(statuses, 0) | {
        "first run": 3,
        "plan in the middle": 2,
        "rollback": 2,
    }, {name: ended.stderr for name, ended in walk.ended.items() if ended.returncode}


def test_the_script_gives_the_schema_that_a_run_gives(walk: Walk) -> None:
    assert walk.dumps["scripted"] == walk.dumps["migrated"]
    assert walk.dumps["migrated"] != walk.dumps["before"]


def test_the_script_gives_the_rows_that_a_run_gives(walk: Walk) -> None:
    assert len(walk.rows["migrated"]) == 6_000
    assert walk.rows["scripted"] == walk.rows["migrated"]


def test_the_way_back_ends_where_the_way_began(walk: Walk) -> None:
    assert walk.dumps["after"] == walk.dumps["before"]


def test_the_first_run_stops_at_the_application_and_says_what_it_waits_for(walk: Walk) -> None:
    (last,) = [line for line in walk.ended["first run"].stderr.splitlines() if not line.startswith("{")]
    assert last.startswith("tenantry: application waits: ")
    assert "`tenantry confirm application`" in last


def test_a_run_without_a_terminal_says_every_stage_in_plain_lines(walk: Walk) -> None:
    said = walk.ended["first run"].stdout
    assert "\x1b" not in said
    assert [stage for stage in ("columns", "backfill", "indexes") if f"{stage} done" not in said] == []
    assert "graph_entities: 2,000 rows, 100%" in said


def test_the_log_of_a_run_is_json_beside_the_lines(walk: Walk) -> None:
    logged = [line for line in walk.ended["first run"].stderr.splitlines() if line.startswith("{")]
    assert {json.loads(line).get("stage") for line in logged} >= {"columns", "backfill", "indexes"}


def test_the_answer_of_a_run_is_the_status_that_it_ends_in(walk: Walk) -> None:
    answer = json.loads(walk.ended["second run"].stdout)
    assert answer["state"] == "complete"
    assert [(stage["name"], stage["state"]) for stage in answer["stages"]] == [
        (name, "done") for name in STAGES
    ]
    assert {table["name"]: table["rows_done"] for table in answer["tables"]} == {
        "graph_entities": 2_000,
        "graph_relations": 4_000,
    }


def test_every_statement_of_the_plan_tells_its_lock_and_its_cost(walk: Walk) -> None:
    told = json.loads(walk.ended["plan --json"].stdout)["statements"]
    assert [one for one in told if not (one["lock"] and one["cost"] and one["statement"])] == []
    assert {one["stage"] for one in told} == {"columns", "backfill", "indexes", "keys", "rls", "verify"}


def test_every_verification_is_true(walk: Walk) -> None:
    checks = json.loads(walk.ended["verify --json"].stdout)
    assert len(checks) > 20
    assert [check for check in checks if check["ok"] is False] == []


def test_the_events_name_who_did_what(walk: Walk) -> None:
    events = json.loads(walk.ended["events --json"].stdout)
    assert {"run", "confirm", "statement", "stage"} <= {event["kind"] for event in events}
    assert all("@" in event["actor"] for event in events)


def test_a_script_is_refused_once_the_migration_is_under_way(walk: Walk) -> None:
    ended = walk.ended["plan in the middle"]
    assert "is under way" in ended.stderr
    assert ended.stdout == ""


def test_nobody_is_walked_back_without_having_been_asked(walk: Walk) -> None:
    assert "--yes" in walk.ended["rollback"].stderr


def test_no_password_is_in_anything_that_was_said_or_written(walk: Walk) -> None:
    said = "".join(ended.stdout + ended.stderr for ended in walk.ended.values())
    written = "".join(file.read_text() for file in walk.folder.iterdir())
    assert SECRET not in said + written
