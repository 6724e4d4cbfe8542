"""`report` of a migration of the sample: half way, finished, walked back; and nothing secret in it."""

import json
import tarfile
from pathlib import Path

import psycopg

from tests.integration.operating import Operator


def _account(operator: Operator) -> dict[str, object]:
    found: dict[str, object] = json.loads(operator.done("report", "--json"))
    return found


def test_before_the_first_run_and_after_the_way_back_there_is_nothing_to_report(operator: Operator) -> None:
    for told in ("before", "after"):
        ended = operator.tenantry("report", "--html")
        assert ended.returncode == 2, told
        assert "in this database; `tenantry run` starts it" in ended.stderr
        assert not list(operator.folder.glob("*.html"))
        if told == "before":
            operator.run_to("columns")
            operator.done("rollback", "--yes")


def test_one_half_way_says_so_in_each_form(operator: Operator) -> None:
    operator.run_to("columns")
    told = operator.done("report")
    assert "Not finished: this is how it stood when the report was made." in told
    assert "its next stage, backfill, has not begun" in told
    said = operator.done("report", "--html", "half.html")
    assert said.startswith("half.html: Not finished")
    page = (operator.folder / "half.html").read_text()
    assert "Not finished" in page
    assert "No batch has gone yet." in page


def test_a_finished_one_has_its_stages_rows_statements_and_checks(operator: Operator) -> None:
    operator.edit('quiet = "1s"', 'quiet = "100ms"')
    operator.run_to("indexes", count=1)
    assert operator.tenantry("run").returncode == 3
    operator.done("confirm", "application")
    ended = operator.tenantry("run")
    if ended.returncode == 3:
        operator.done("confirm", "rls")
        operator.done("run")
    account = _account(operator)
    status, stages = account["status"], account["stages"]
    assert isinstance(status, dict)
    assert isinstance(stages, list)
    assert status["state"] == "complete"
    assert {stage["state"] for stage in stages} == {"done"}
    assert all(stage["cost"]["wal_bytes"] >= 0 for stage in stages)
    by_name = {stage["name"]: stage for stage in stages}
    assert by_name["backfill"]["cost"]["wal_bytes"] > 100_000
    assert by_name["application"]["confirmed_by"]
    rates = account["rates"]
    assert isinstance(rates, list)
    rows = {name: sum(one["filled"] for one in rates if one["table"] == name) for name in _tables(account)}
    assert rows == {"graph_entities": 2_000, "graph_relations": 4_000}
    assert all(table["bytes_before"] < table["bytes_now"] for table in account["tables"])  # type: ignore[attr-defined]
    operator.done("report", "--html")
    (path,) = operator.folder.glob("*-report.html")
    page = path.read_text()
    for told in ("ACCESS EXCLUSIVE", "ADD COLUMN", "every row has a tenant", "Rows per second", "Complete, "):
        assert told in page
    events = account["events"]
    assert isinstance(events, list)
    assert all(event["message"] for event in events if event["statement"])


def _tables(account: dict[str, object]) -> list[str]:
    tables = account["tables"]
    assert isinstance(tables, list)
    return [table["name"] for table in tables]


def test_a_password_is_in_no_file_wherever_it_was_planted(operator: Operator) -> None:
    operator.run_to("columns")
    word = "very/s3cret:w@rd"
    with psycopg.connect(operator.url, autocommit=True) as session:
        dsn = session.info.dsn
        session.execute(
            "INSERT INTO tenantry.events (migration_id, actor, kind, message, statement, lock, error) "
            "SELECT id, 'op', 'statement', %s, %s, 'none', %s FROM tenantry.migrations",
            [
                f"at postgresql://op:{word}@db/graph",
                f"SELECT '{word}'",
                f"connection failed: password={word}",
            ],
        )
    operator.plan.write_text(
        operator.plan.read_text().replace('"env:DATABASE_URL"', f'"{dsn} password={word}"')
    )
    said = operator.done("report", "--bundle", "support.tar.gz")
    operator.done("report", "--html", "support.html")
    texts = {"said": said, "html": (operator.folder / "support.html").read_text()}
    texts["json"] = operator.done("report", "--json")
    with tarfile.open(operator.folder / "support.tar.gz") as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            assert member.name.startswith("support/")
            texts[member.name] = content.read().decode()
    assert len(texts) == 14
    for name, text in texts.items():
        assert word not in text, name
        assert "s3cret" not in text, name
    assert "***" in texts["support/plan.toml"]
    assert (operator.folder / "support.tar.gz").stat().st_mode & 0o077 == 0


def test_a_report_never_writes_over_the_plan(operator: Operator) -> None:
    operator.run_to("columns")
    before = operator.plan.read_text()
    ended = operator.tenantry("report", "--html", "migration.toml")
    assert (ended.returncode, operator.plan.read_text()) == (2, before)
    assert "is the plan; name another file" in ended.stderr


def test_what_can_not_be_written_is_said(operator: Operator) -> None:
    operator.run_to("columns")
    ended = operator.tenantry("report", "--bundle", str(Path("nowhere") / "support.tar.gz"))
    assert ended.returncode == 2
    assert "can't be written: No such file or directory" in ended.stderr


def test_sizes_are_left_out_while_a_table_is_locked(operator: Operator) -> None:
    operator.run_to("columns")
    with psycopg.connect(operator.url) as session:
        session.execute("LOCK TABLE graph_entities IN ACCESS EXCLUSIVE MODE")
        tables = _account(operator)["tables"]
    assert isinstance(tables, list)
    assert [table["bytes_now"] for table in tables] == [None, None]


def test_what_was_there_under_that_name_is_replaced_and_the_new_file_is_its_owners_alone(
    operator: Operator,
) -> None:
    operator.run_to("columns")
    for asked, name in (("--bundle", "old.tar.gz"), ("--html", "old.html")):
        path = operator.folder / name
        path.write_text("what was there")
        path.chmod(0o644)
        operator.done("report", asked, name)
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"what was there" not in path.read_bytes()
    (operator.folder / "folder").mkdir()
    ended = operator.tenantry("report", "--bundle", "folder")
    assert (ended.returncode, "folder: can't be written: Is a directory" in ended.stderr) == (2, True)
    assert not list(operator.folder.glob(".*"))


def test_times_are_utc_whatever_zone_the_server_has(operator: Operator) -> None:
    operator.run_to("columns")
    with psycopg.connect(operator.url, autocommit=True) as session:
        name = psycopg.sql.Identifier(session.info.dbname)
        session.execute(psycopg.sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Kathmandu'").format(name))
        (began,) = session.execute(
            "SELECT to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM tenantry.stages "
            "WHERE name = 'columns'"
        ).fetchone() or ("",)
    operator.done("report", "--html", "utc.html")
    assert began in (operator.folder / "utc.html").read_text()
    assert began[:16] in operator.done("events")
    stages = _account(operator)["stages"]
    assert isinstance(stages, list)
    assert all(stage["started_at"].endswith("Z") for stage in stages if stage["started_at"])
