"""The whole chain on the sample graph, against the guide's statements sent by psql one after the other.

Both beside the same application, whose new code is deployed after the indexes. Both end in the same keys and
indexes, which is checked. Neither's backup is in it: it is the same program in both.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from control.client_programs import tools
from control.demo.show import plan_for
from control.plan.model import Plan
from sql.named import load
from sql.postgres.connection import connect
from sql.tenant_source import Constant
from tests.benchmarks.application import LEGACY, RATE, Code, applied
from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.tables import Tables
from tests.benchmarks.whole_migration import Migrated, migrated

NAME = "chain"
#: Three million rows: the entities, and twice as many relations.
ENTITIES = 1_000_000

_GUIDE = load(Path(__file__).parent, "guide")
#: By what the two ended in: keys, foreign keys and indexes, whatever their names.
_SHAPE = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid IN ('graph_entities'::regclass, 'graph_relations'::regclass) AND contype IN ('p', 'f')
UNION ALL
SELECT regexp_replace(indexdef, 'INDEX \\S+ ON', 'INDEX ON') FROM pg_indexes WHERE tablename LIKE 'graph_%'
ORDER BY 1
"""


def measure(tables: Tables) -> list[Figure]:
    """With one tenant for all rows, as the guide has it, and with the tenant found in each row."""
    return [
        *_compared(
            tables, _Rows("one tenant for all rows", "backfill", "graph of one tenant", constant=True)
        ),
        *_compared(tables, _Rows("the tenant found in each row", "backfill_of_many", "graph with tenants")),
    ]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Whose the rows are: the guide's statement for it, and the application's code that knows."""

    says: str
    statement: str
    deployed: Code
    constant: bool = False

    def plan(self, url: str) -> Plan:
        """The plan of the demo, without its backup."""
        plan = plan_for(url, Path("none")).model_copy(update={"backup": None})
        if not self.constant:
            return plan
        one = Constant(constant=LEGACY)
        tables = tuple(table.model_copy(update={"tenant": one}) for table in plan.tables)
        return plan.model_copy(update={"tables": tables})


def _compared(tables: Tables, rows: _Rows) -> Iterator[Figure]:
    """The guide's statements, then the engine beside the same application, and the engine flat out."""
    guide, wanted = _by_guide(tables, rows)
    says = f"{rows.says}: {3 * ENTITIES:,} rows, the application at {RATE}/s"
    yield from _shown(f"{says}, the guide's statements", guide)
    for throttle, how in ((True, "default governor"), (False, "no throttle")):
        url = tables.graph(ENTITIES)
        application = tables.url(user="graph_app")
        ours = migrated(rows.plan(url), application, ENTITIES, rows.deployed, throttle=throttle, vouched=True)
        shape = _shape(url)
        assert shape == wanted, f"not the same end: {shape ^ wanted}"
        # Who asks that nobody notices while every row is written has asked for another time.
        must, aim = (0.8, 0.7) if rows.constant or not throttle else (None, None)
        bar = Bar("time to that of the guide's statements", must, aim, at_most=True)
        yield Figure(NAME, f"{says}, {how}", bar, (ours.seconds / guide.seconds,))
        yield from _shown(f"{says}, {how}", ours)


def _shown(says: str, done: Migrated) -> Iterator[Figure]:
    values = {
        "seconds": done.seconds,
        "longest stall, ms": done.felt.longest * 1000,
        "errors": len(done.felt.errors),
        **{f"{stage}: seconds": ended - begun for stage, (begun, ended) in done.spans.items()},
        **{f"{stage}: longest stall, ms": stall * 1000 for stage, stall in done.stalls().items()},
    }
    for what, value in values.items():
        yield Figure(NAME, says, Bar(what), (value,))


def _by_guide(tables: Tables, rows: _Rows) -> tuple[Migrated, frozenset[str]]:
    url = tables.graph(ENTITIES)
    spans: dict[str, tuple[float, float]] = {}
    psql = _psql(url)
    with applied(tables.url(user="graph_app"), ENTITIES, "graph") as application:

        def step(name: str, statement: str) -> None:
            begun = time.time()
            subprocess.run(psql, input=getattr(_GUIDE, statement).text, text=True, check=True)
            spans[name] = (begun, time.time())

        step("columns", "columns")
        step("backfill", rows.statement)
        step("indexes", "indexes")
        application.switch(rows.deployed)
        step("keys", "keys")
        step("rls", "rls")
        felt = application.stop().between(spans["columns"][0], spans["rls"][1])
    return Migrated(spans, felt), _shape(url)


def _psql(url: str) -> list[str]:
    with connect(url, "bench") as connection:
        program = tools(connection.info.server_version) / "psql"
    return [str(program), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--output", os.devnull, url]


def _shape(url: str) -> frozenset[str]:
    with connect(url, "bench") as connection:
        return frozenset(definition for (definition,) in connection.execute(_SHAPE).fetchall())
