"""Counts rows that name another tenant's, and sets them aside."""

import json
import time
from pathlib import Path

from sql.job import JobSpec
from sql.named import load
from sql.sqlite.batch import JobSQL
from sql.sqlite.connection import File
from sql.sqlite.names import quoted
from sql.sqlite.source import matches

STATEMENTS = load(Path(__file__).parent, "crossing")

#: Rows that are set aside in one transaction.
_ASIDE = 500


def count(file: File, *, table: str, parent: str, on: dict[str, str], column: str) -> int:
    """How many rows name one of another tenant; `on` maps columns of the row to its parent's."""
    return int(
        file.value(
            STATEMENTS.count.filled(
                table=quoted(table), parent=quoted(parent), pairs=matches(on, "r", "t"), column=quoted(column)
            )
        )
    )


def forget(file: File, migration: int) -> None:
    """Take out of quarantine what was set aside for it before."""
    file.execute(STATEMENTS.forget.filled(), {"migration": migration})


def set_aside(file: File, job: int, spec: JobSpec, *, parent: str, on: dict[str, str], by: str) -> int:
    """Put the rows of a job's table into quarantine whose parent by the columns `by` is another tenant's.

    `on` maps columns of the row to its parent's. Returns how many were not there yet.
    """
    found = file.rows(
        STATEMENTS.crossing.filled(
            key=JobSQL(spec).key,
            table=quoted(spec.table),
            parent=quoted(parent),
            pairs=matches(on, "r", "t"),
            column=quoted(spec.tenant_column),
        )
    )
    rows = [
        {
            "job": job,
            "key": json.dumps([row[f"k{at}"] for at in range(len(spec.key))], ensure_ascii=False),
            "message": f"of {row['ours']}, and {by} names a row of {row['theirs']}",
            "now": time.time(),
        }
        for row in found
    ]
    aside = 0
    for at in range(0, len(rows), _ASIDE):
        with file.transaction():
            aside += sum(
                file.execute(STATEMENTS.set_aside.filled(), row).rowcount for row in rows[at : at + _ASIDE]
            )
    return aside
