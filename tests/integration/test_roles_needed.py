"""Each grant of `roles --sql` is needed: without it something of a migration fails, or is not seen."""

import json
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from control.demo import sample as sample_graph
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.reading import read_plan
from control.roles import Grant, Who, grants, script
from sql.postgres.connection import connect
from tests.integration.operating import TENANTRY
from tests.integration.privileged import CONTROLLER, EXPORTER, OWNER, WORKER, Privileged, privileged
from tests.servers import before_15, start_postgres
from tests.waiting import until

#: A walk with every right takes a fifth of it; one that lacks a worker's waits for ever.
_STUCK_AFTER = 60
#: Whoever wants in needs a grant; a lookup and a function that not everybody may run are there too.
_CLOSED = f"""
REVOKE CONNECT ON DATABASE privileged FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE ROLE somebody LOGIN BYPASSRLS;
GRANT CONNECT ON DATABASE privileged TO somebody;
GRANT USAGE ON SCHEMA public TO {OWNER}, somebody;
GRANT SELECT ON graph_entities TO somebody;
CREATE TABLE orgs (id text PRIMARY KEY, tenant text NOT NULL);
INSERT INTO orgs SELECT DISTINCT properties->>'org_id', properties->>'org_id' FROM graph_entities;
ALTER TABLE orgs OWNER TO {OWNER};
CREATE FUNCTION is_sound(text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 <> ''''';
REVOKE EXECUTE ON FUNCTION is_sound FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_sound TO {OWNER};
ALTER TABLE graph_entities ADD CONSTRAINT sound CHECK (is_sound(id));
ALTER TABLE graph_entities ADD COLUMN org text;
UPDATE graph_entities SET org = properties->>'org_id';
"""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A small sample on a server that archives and counts no functions' calls."""
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
            sample_graph.fill(connection, entities=300, relations=600)
        yield started


@pytest.mark.full
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("who", ["controller", "verifier", "worker", "exporter"])
def test_without_any_one_grant_something_fails_or_is_not_seen(
    who: Who, server: EmbeddedPostgres, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    granted = _granted(server, valkey, tmp_path / "all")
    assert _breakage(server, valkey, tmp_path / "with all", granted, who) is None
    needless = []
    for at, one in enumerate(granted):
        if one.who == who:
            without = [*granted[:at], *granted[at + 1 :]]
            if _breakage(server, valkey, tmp_path / str(at), without, who) is None:
                needless.append(one.said)
    assert needless == []


def _prepared(operator: Privileged) -> None:
    with psycopg.connect(operator.url, autocommit=True) as connection:
        connection.execute(_CLOSED)
    lookup = '{ lookup = "orgs", on = { org = "id" }, column = "tenant" }'
    text = operator.plan.read_text().splitlines()
    at = next(n for n, line in enumerate(text) if line.startswith("tenant = { expression"))
    text[at] = f"tenant = {lookup}"
    plan = "\n".join(text).replace('quiet = "1s"', 'quiet = "100ms", roles = ["graph_app"]')
    # Before 15 only a superuser holds triggers off.
    triggers = "run" if before_15() else "hold"
    operator.plan.write_text(
        plan + f'\n[backfill]\nuser_triggers = "{triggers}"\n[locks]\nterminate_after = "1s"\n'
    )


def _granted(server: EmbeddedPostgres, valkey: EmbeddedValkey, folder: Path) -> list[Grant]:
    folder.mkdir()
    with privileged(server, "graph", folder, valkey.url) as operator:
        _prepared(operator)
        with connect(operator.url, "test") as connection:
            return grants(read_plan(operator.plan), connection, assign=True)


def _breakage(
    server: EmbeddedPostgres, valkey: EmbeddedValkey, folder: Path, granted: list[Grant], who: Who
) -> str | None:
    """What goes wrong first with these grants; None where nothing does."""
    folder.mkdir()
    with privileged(server, "graph", folder, valkey.url) as operator:
        _prepared(operator)
        try:
            operator.run_script("\n".join(script(read_plan(operator.plan), granted)))
            return _exporting(operator) if who == "exporter" else _walking(operator)
        except (
            subprocess.CalledProcessError,
            subprocess.TimeoutExpired,
            psycopg.Error,
            AssertionError,
            json.JSONDecodeError,  # nothing was answered
        ) as error:
            return f"{type(error).__name__}: {error}"


def _walking(operator: Privileged) -> str | None:
    looked = json.loads(operator.as_(CONTROLLER, "check", "--json").stdout)
    for one in looked:
        expected = {
            "backup",
            "rehearsal",
            "quiet time",
            "indexes lost to policies",
            "application's statements",
        }
        if one["level"] != "pass" and one["name"] not in expected:
            return f"{one['name']}: {one['fact']}"
    with operator.serving(WORKER, "worker"):
        # Who sits in an open transaction, as a role that none of ours is a member of, is ended by the plan.
        with closing(psycopg.connect(operator.url_of("somebody"))) as application:
            application.execute("SELECT FROM graph_entities")
            _typed(operator, 3, "run")
        _typed(operator, 0, "confirm", "application")
        _typed(operator, 0, "run")
        where = ("--from", "org-01", "--where", "org = 'org-01'")
        _typed(operator, 0, "tenants", "assign", "acme", *where, "--yes", "--no-throttle")
    unreadable = operator.count("SELECT count(*) FROM tenantry.events WHERE kind = 'unreadable'")
    return f"{unreadable} signals can't be read" if unreadable else None


def _typed(operator: Privileged, status: int, *arguments: str) -> None:
    ended = subprocess.run(
        [TENANTRY, *arguments],
        cwd=operator.folder,
        env=operator.environment_of(CONTROLLER),
        check=False,
        capture_output=True,
        text=True,
        timeout=_STUCK_AFTER,
    )
    assert ended.returncode == status, ended.stderr


def _exporting(operator: Privileged) -> str | None:
    """An index under way is no invalid one: the exporter must see that somebody builds it."""
    with operator.serving(WORKER, "worker"):
        _typed(operator, 0, "run", "--to", "backfill")
    building = "SELECT count(*) FROM pg_stat_progress_create_index"
    with psycopg.connect(operator.url) as holding:
        holding.execute("UPDATE graph_entities SET id = id WHERE id = (SELECT min(id) FROM graph_entities)")
        builder = threading.Thread(target=_build, args=(operator.url_of(CONTROLLER),))
        builder.start()
        try:
            until(lambda: operator.count(building) == 1, "the index to be built")
            with operator.serving(EXPORTER, "exporter") as port:
                until(lambda: _scraped(port) is not None, "the exporter")
                said = _scraped(port) or ""
        finally:
            holding.rollback()
            builder.join()
    if "\ntenantry_up 1.0\n" not in said:
        return "not up"
    wrong = [
        x for x in said.splitlines() if x.startswith("tenantry_invalid_indexes{") and not x.endswith(" 0.0")
    ]
    return wrong[0] if wrong else None


def _build(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE INDEX CONCURRENTLY mine ON graph_entities (entity_type)")


def _scraped(port: int) -> str | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return None
