"""Backfill, indexes and keys of the sample graph in a SQLite file, against the guide's statements, mended.

No application is beside either. Both begin with a copy of one file, and end in the same rows, keys and
indexes, which is checked. The guide builds its indexes, and its rebuild drops them with the tables: so they
are built once more. What it would take to build them only then is shown too.
"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from control import conductor as either
from control.demo import sample_file
from control.demo.show_file import plan_for
from control.plan.model import Plan
from control.sqlite import conductor
from sql.named import load
from sql.tenant_source import Constant
from tests.benchmarks.figures import Bar, Figure
from worker import ledger

NAME = "file"
_MEASURED = ("backfill", "indexes", "keys")
_GUIDE = load(Path(__file__).parent, "guide_on_file")
_RATIO = Bar("backfill, indexes and keys: time to the guide's", must=1.3, at_most=True)
_LONGEST = Bar("longest write lock of the backfill, ms", must=250.0, at_most=True)
_LEGACY = "default"
_BEFORE = ("columns",)
_ENDS = {
    "tenants": "SELECT tenant_id, count(*) FROM {table} GROUP BY tenant_id ORDER BY tenant_id",
    "key": "SELECT name FROM pragma_table_info('{table}') WHERE pk ORDER BY pk",
    "foreign keys": (
        'SELECT "table", "from", "to", on_delete FROM pragma_foreign_key_list(\'{table}\') '
        'ORDER BY "from", "to", id'
    ),
    "indexes": (
        "SELECT replace(sql, '\"', '') FROM sqlite_schema "
        "WHERE type = 'index' AND tbl_name = '{table}' AND sql IS NOT NULL ORDER BY name"
    ),
}


@dataclass
class _Done:
    """The seconds of each stage, and for how long one transaction had the file at the most."""

    seconds: dict[str, float] = field(default_factory=dict)
    locked: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True)
class _Rows:
    """Whose the rows are, and the guide's statement for it."""

    says: str
    statement: str
    constant: bool = False

    def plan(self, path: Path) -> Plan:
        """The plan of the demo, without its backup."""
        plan = plan_for(path)
        if not self.constant:
            return plan
        one = Constant(constant=_LEGACY)
        tables = tuple(table.model_copy(update={"tenant": one}) for table in plan.tables)
        return plan.model_copy(update={"tables": tables})


_BOTH = (
    _Rows("one tenant for all rows", "backfill", constant=True),
    _Rows("the tenant found in each row", "backfill_of_many"),
)


def measure(rows: int, rounds: int, say: Callable[[str], None]) -> Iterator[Figure]:
    """A third of the rows are entities."""
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as made:
        folder = Path(made)
        sample_file.make(folder / "sample.db", entities=rows // 3)
        for whose in _BOTH:
            pairs: list[tuple[_Done, _Done]] = []
            for at in range(rounds):
                guide, wanted = _copied(folder, partial(_by_guide, whose))
                ours, end = _copied(folder, partial(_by_us, whose))
                assert end == wanted, f"not the same end: {end} instead of {wanted}"
                pairs.append((guide, ours))
                took = f"the guide {guide.total:.1f} s, ours {ours.total:.1f} s"
                say(f"round {at + 1}: SQLite, {whose.says}: {took}")
            yield from _figures(f"SQLite, {whose.says}: {rows:,} rows", pairs)


def _figures(says: str, pairs: Sequence[tuple[_Done, _Done]]) -> Iterator[Figure]:
    guides, ours = zip(*pairs, strict=True)
    totals = [done.total for done in ours]
    ratios = [mine / guide.total for mine, guide in zip(totals, guides, strict=True)]
    once = [
        mine / (guide.total - guide.seconds["indexes"]) for mine, guide in zip(totals, guides, strict=True)
    ]
    yield Figure(NAME, says, _RATIO, tuple(ratios))
    yield Figure(NAME, says, Bar("the same, the guide's indexes built only once"), tuple(once))
    yield Figure(NAME, says, _LONGEST, tuple(done.locked["backfill"] * 1000 for done in ours))
    for stage in _MEASURED:
        for of, done in (("ours", ours), ("the guide's", guides)):
            yield Figure(NAME, says, Bar(f"{stage}: seconds, {of}"), tuple(d.seconds[stage] for d in done))
            locks = tuple(d.locked[stage] * 1000 for d in done)
            yield Figure(NAME, says, Bar(f"{stage}: longest write lock, ms, {of}"), locks)


def _copied(folder: Path, way: Callable[[Path], _Done]) -> tuple[_Done, Mapping[str, object]]:
    path = folder / "graph.db"
    shutil.copyfile(folder / "sample.db", path)
    try:
        return way(path), _end(path)
    finally:
        for left in folder.glob("graph.db*"):
            left.unlink()


def _by_guide(whose: _Rows, path: Path) -> _Done:
    done = _Done()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:

        def step(stage: str, statements: str) -> None:
            begun = time.perf_counter()
            locked = done.locked.get(stage, 0.0)
            # Between BEGIN and COMMIT nobody gets in; elsewhere each statement has the file for itself.
            since = begun
            for statement in getattr(_GUIDE, statements).filled().split(";\n"):
                connection.execute(statement)
                if not connection.in_transaction:
                    now = time.perf_counter()
                    locked, since = max(locked, now - since), now
            done.locked[stage] = locked
            done.seconds[stage] = done.seconds.get(stage, 0.0) + time.perf_counter() - begun

        step("columns", "columns")
        step("backfill", whose.statement)
        step("indexes", "indexes")
        step("keys", "keys")
        step("keys", "indexes")
        step("keys", "indexes_of_before")
    return _Done(
        {stage: done.seconds[stage] for stage in _MEASURED},
        {stage: done.locked[stage] for stage in _MEASURED},
    )


def _by_us(whose: _Rows, path: Path) -> _Done:
    plan = whose.plan(path)
    locked: dict[str, float] = {}
    with conductor.controller(plan) as file:
        for stage in (*_BEFORE, *_MEASURED):
            if stage == "keys":
                either.confirm(plan, file, "application")
            file.longest = 0.0
            conductor.run(plan, file, to=stage, throttle=False, notify=_nobody)
            locked[stage] = file.longest
        stages = ledger.stages(file, ledger.read(file, plan.name).id)
    seconds = {
        name: (stage.finished_at - stage.started_at).total_seconds()
        for name, stage in stages.items()
        if name in _MEASURED and stage.started_at is not None and stage.finished_at is not None
    }
    return _Done(seconds, {stage: locked[stage] for stage in _MEASURED})


def _end(path: Path) -> dict[str, object]:
    """What a way ended in: rows by tenant, keys, foreign keys and indexes, whatever their names and order."""
    with closing(sqlite3.connect(path)) as connection:

        def asked(statement: str) -> list[tuple[object, ...]]:
            return connection.execute(statement).fetchall()

        return {
            f"{table} {what}": asked(statement.format(table=table))
            for table in ("entities", "relations")
            for what, statement in _ENDS.items()
        }


def _nobody(_line: str) -> None:
    """Nobody listens."""
