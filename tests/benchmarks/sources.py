"""Whose each row is, by the four sources: the backfill by each against that by a constant, and the guard.

All over the same table, which has the tenant column already: a constant on a table without it would have
nothing to fill.
"""

import time
from collections.abc import Callable
from typing import Any

import psycopg

from control import locks
from control.plan.model import Plan
from control.stages import columns
from sql.postgres import catalog
from sql.postgres.connection import connect
from tests.benchmarks import backfills
from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.tables import Tables

NAME = "sources"

_BY: dict[str, dict[str, Any]] = {
    "constant": {"constant": "default"},
    "expression": {"expression": "payload->>'org_id'"},
    "lookup": {"lookup": "orgs", "on": {"org_id": "id"}, "column": "slug"},
    "parent": {"parent": "parents", "on": {"parent_id": "id"}},
}
#: What is asked of each, as a share of the constant's rows/s.
_MUST = {"lookup": 0.6, "parent": 0.6}

#: Rows inserted one by one in the server, so that nothing else is timed than the insert and its triggers.
_INSERTS = 100_000
_INSERT = """
DO $$ BEGIN
    FOR n IN 1..%s LOOP
        INSERT INTO big (id, org_id, parent_id, payload) VALUES
            (-n, n %% 50, n, jsonb_build_object('org_id', 'org-' || n %% 50, 'note', md5(n::text)));
    END LOOP;
END $$
"""


def plan_by(url: str, source: str) -> Plan:
    """The plan of `big` by one of the sources, with its parents where it asks them."""
    parents = [{"name": "parents", "tenant": {"expression": "note"}}] if source == "parent" else []
    tables = [*parents, {"name": "big", "tenant": _BY[source]}]
    return Plan.model_validate({"name": "bench", "database": {"url": url}, "tables": tables})


def measure(tables: Tables, rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """The rows/s of each source as a share of the constant's, and what the guard adds to each insert."""
    shares: dict[str, list[float]] = {source: [] for source in _BY if source != "constant"}
    costs: dict[str, list[float]] = {source: [] for source in _BY}
    for at in range(rounds):
        seconds = {}
        for source in _BY:
            seconds[source] = backfills.of_plan(plan_by(tables.told(), source), tables.rows).seconds
            say(f"round {at + 1}: backfill by {source}: {seconds[source]:.1f} s")
        for source, found in shares.items():
            found.append(seconds["constant"] / seconds[source])
        url = tables.told()
        bare = _each_insert(url)
        for source, found in costs.items():
            found.append((_guarded_insert(tables.told(), source) - bare) * 1e6)
            say(f"round {at + 1}: guard by {source}: {found[-1]:.1f} us beside an insert's {bare * 1e6:.1f}")
    return [
        *(
            Figure(NAME, f"backfill by {source}, to that by a constant", _speed(source), tuple(found))
            for source, found in shares.items()
        ),
        *(
            Figure(NAME, f"the guard of an insert, by {source}", Bar("us in the server"), tuple(found))
            for source, found in costs.items()
        ),
    ]


def _speed(source: str) -> Bar:
    return Bar("rows/s", must=_MUST.get(source))


def _guarded_insert(url: str, source: str) -> float:
    plan = plan_by(url, source)
    with connect(url, "bench") as connection:
        original = catalog.read(connection, [table.name for table in plan.tables])
        for step in columns.STAGE.steps(plan, original):
            locks.take(connection, step, notify=lambda _line: None)
    return _each_insert(url)


def _each_insert(url: str) -> float:
    """Seconds for one insert."""
    with psycopg.connect(url, autocommit=True) as connection:
        begun = time.perf_counter()
        connection.execute((_INSERT % _INSERTS).encode())
        return (time.perf_counter() - begun) / _INSERTS
