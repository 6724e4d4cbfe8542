"""What a file held when its migration began: what it holds later is compared with that.

Cheap beside a backup: a count, some rows of each table, and a look at its foreign keys.
"""

import sqlite3
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from control.sqlite.stage import Ground
from sql.ledger import meant
from sql.sqlite import verify
from sql.sqlite.facts import Table

#: Where the ledger keeps it.
MEMORY = "baseline"
#: Rows of each table that are looked at again.
MOST = 50


class Rows(BaseModel):
    """A table then: its rows, and of some of them the key and a checksum of each of `columns`."""

    model_config = ConfigDict(frozen=True)

    rows: int
    key: tuple[str, ...]
    columns: tuple[str, ...]
    sample: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


class Baseline(BaseModel):
    """Every table of the plan by its name there, and rows that broke a foreign key already."""

    model_config = ConfigDict(frozen=True)

    tables: dict[str, Rows]
    broken: dict[str, int] | None
    """None where SQLite could not look."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The sample, looked at again: rows that are the same, that changed, and that are gone.

    `columns` is in how many rows each column changed.
    """

    same: int
    changed: int
    gone: int
    columns: dict[str, int]


def keep(ground: Ground) -> None:
    """Keep what is there now, unless it was kept before: a run that is started again began earlier."""
    if ground.memory.recall(MEMORY) is not None:
        return
    file = ground.connection
    with file.snapshot():
        tables = {}
        for planned in ground.plan.tables:
            table = ground.original.table(planned.name)
            columns = untouched(table, ground.plan.tenant.column)
            found = verify.samples(file, table, columns, MOST)
            tables[planned.name] = Rows(
                rows=verify.count(file, table),
                key=verify.identity(table),
                columns=columns,
                sample=tuple((one.key, one.values) for one in found),
            )
    kept = Baseline(tables=tables, broken=_broken(ground))
    ground.memory.remember(MEMORY, kept.model_dump(mode="json"))


def recall(ground: Ground) -> Baseline | None:
    """What was kept; None for a migration that began without."""
    kept = ground.memory.recall(MEMORY)
    return None if kept is None else meant(Baseline, kept, f"migrations.memory ({MEMORY})", ground.plan.name)


def untouched(table: Table, tenant_column: str) -> tuple[str, ...]:
    """The columns that the migration leaves alone."""
    return tuple(one.name for one in table.columns if one.name != tenant_column)


def compare(ground: Ground, table: Table, before: Rows) -> Compared:
    """Look at the sample again."""
    same = changed = gone = 0
    columns: dict[str, int] = {}
    for key, values in before.sample:
        found = verify.again(
            ground.connection, table, dict(zip(before.key, key, strict=True)), before.columns
        )
        if values in found:
            same += 1
        elif not found:
            gone += 1
        else:
            changed += 1
            for name, was, now in zip(before.columns, values, found[0], strict=True):
                if was != now:
                    columns[name] = columns.get(name, 0) + 1
    return Compared(same, changed, gone, columns)


def _broken(ground: Ground) -> dict[str, int] | None:
    try:
        return verify.broken_keys(ground.connection)
    except sqlite3.OperationalError:
        return None
