"""A backfill of a SQLite file whose process is killed between any two statements goes on where it was."""

import os
import random
import signal
from pathlib import Path

import pytest

from control.plan.model import Plan
from control.sqlite import conductor
from tests.integration.sqlite.filled import asked, made, plan_of, run

_ROWS = 700
_NUMBERS = f"WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {_ROWS})"


def _prepared(path: Path) -> Plan:
    """A tree of tables whose tenant column is there already, and what counts each change of it."""
    made(
        path,
        "CREATE TABLE entities (id INTEGER PRIMARY KEY, org TEXT, tenant_id TEXT)",
        "CREATE TABLE relations (a TEXT, b INT, above INT, tenant_id TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID",
        "CREATE TABLE counted (name TEXT, key TEXT)",
        "CREATE TRIGGER e AFTER UPDATE OF tenant_id ON entities"
        " BEGIN INSERT INTO counted VALUES ('e', NEW.id); END",
        "CREATE TRIGGER r AFTER UPDATE OF tenant_id ON relations"
        " BEGIN INSERT INTO counted VALUES ('r', NEW.a || NEW.b); END",
        f"{_NUMBERS} INSERT INTO entities (id, org) SELECT n * 3, 'org' || (n % 3) FROM s",
        f"{_NUMBERS} INSERT INTO relations (a, b, above) SELECT 'k' || (n % 7), n, n * 3 FROM s",
    )
    return plan_of(
        path,
        [
            {"name": "entities", "tenant": {"expression": "org"}},
            {"name": "relations", "tenant": {"parent": "entities", "on": {"above": "id"}}},
        ],
    )


def _killed_at(plan: Plan, statement: int) -> bool:
    """Run in a process of its own, that is killed right before so many statements; whether it was."""
    child = os.fork()
    if child == 0:
        left = statement

        def count(_sent: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            with conductor.controller(plan) as file:
                file.raw.set_trace_callback(count)
                conductor.run(plan, file, to="backfill", notify=lambda _line: None)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("seed", range(6))
def test_every_row_is_right_and_was_written_once_however_often_the_process_is_killed(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(f"{os.environ.get('SEED', '0')} {seed}")
    plan = _prepared(tmp_path / "killed.db")
    kills = 0
    while kills < 8 and _killed_at(plan, chance.randint(1, 400)):
        kills += 1
    run(plan)
    assert kills
    assert asked(tmp_path / "killed.db", "SELECT * FROM entities WHERE tenant_id IS NOT org") == []
    assert (
        asked(
            tmp_path / "killed.db",
            "SELECT r.* FROM relations AS r JOIN entities AS e ON e.id = r.above"
            " WHERE r.tenant_id IS NOT e.org",
        )
        == []
    )
    assert asked(tmp_path / "killed.db", "SELECT count(*), count(DISTINCT name || key) FROM counted") == [
        (2 * _ROWS, 2 * _ROWS)
    ]


def test_a_batch_in_which_its_process_ends_each_time_is_split_until_the_row_that_does_it_is_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "killed.db"
    plan = _prepared(path)

    def kill_at(row: str) -> bool:
        """Run in a process that is killed as it writes a row."""

        def doom(key: str) -> None:
            if key == row:
                os.kill(os.getpid(), signal.SIGKILL)

        child = os.fork()
        if child == 0:
            try:
                with conductor.controller(plan) as file:
                    file.raw.create_function("doom", 1, doom)
                    conductor.run(plan, file, to="backfill", notify=lambda _line: None)
            finally:
                os._exit(0)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    made(
        path,
        "CREATE TRIGGER doomed AFTER UPDATE OF tenant_id ON entities"
        " BEGIN SELECT doom(CAST(NEW.id AS TEXT)); END",
    )
    kills = 0
    while kill_at("600") and kills < 60:
        kills += 1
    assert 0 < kills < 60
    assert asked(path, "SELECT key, message FROM tenantry_quarantine") == [
        ('["600"]', "no outcome: its process ended each time")
    ]
    assert asked(path, "SELECT id FROM entities WHERE tenant_id IS NULL") == [(600,)]
