"""Fills a new table in batches, gives it its indexes, and reads again what was written meanwhile."""

from functools import partial
from typing import Any

from control.sqlite.rebuild.making import Making, columns_of
from control.sqlite.rebuild.pacing import Pace
from control.sqlite.stage import Ground
from sql.job import Copying, JobSpec, KeyColumn, Range
from sql.ledger import send
from sql.sqlite.connection import File
from sql.sqlite.ledger import JOBS as FILE_JOBS
from sql.sqlite.names import listed, quoted, written
from sql.sqlite.rebuild import STATEMENTS
from worker import jobs
from worker.jobs import Job


def record(ground: Ground, one: Making) -> None:
    """Keep the copy as a job in the ledger, up to the last key as it is. Call it in a transaction."""
    file = ground.connection
    table = ground.plan.table(_planned(ground, one))
    spec = JobSpec(
        schema_="main",
        table=one.name,
        key=tuple(KeyColumn(name=name, type="") for name in one.key),
        paging="contiguous",
        stripes=1,
        rows_per_page=1.0,
        most_rows=50_000,
        tenant_column=ground.plan.tenant.column,
        sentinel=None,
        source=table.tenant,
        named=table.name,
        pattern=ground.plan.tenant.pattern,
        tenant_in_unique_index=False,
        hold_triggers=False,
        copying=Copying(function=("main", one.new), tenants=()),
    )
    last = _edge(file, one, backwards=True)
    jobs.add(
        file,
        ground.migration,
        table=table.name,
        part=one.new,
        spec=spec,
        last_key=last,
        batch_rows=1_000,
        rows_total=int(file.value(STATEMENTS.rows.filled(table=quoted(one.name)))),
        why="rows as they lie, into the table with the new key",
        state="complete" if last is None else "running",
    )


def forget(ground: Ground, one: Making) -> None:
    """Take the copy out of the ledger: what it was made for is in its place, or was given up."""
    if job_of(ground, one) is None:
        return
    given = {"migration": ground.migration, "part": one.new}
    with ground.connection.transaction():
        for statement in (STATEMENTS.forget_batches, STATEMENTS.forget_job):
            ground.connection.execute(statement.filled(), given)


def job_of(ground: Ground, one: Making) -> Job | None:
    """The job of a copy; None where there is none."""
    every = jobs.of_kind(ground.connection, ground.migration, "copy")
    return next((job for job in every if job.part == one.new), None)


def _planned(ground: Ground, one: Making) -> str:
    return ground.plan.tables[one.rebuild.number].name


def _edge(file: File, one: Making, *, backwards: bool) -> list[str] | None:
    order = ", ".join(f"{quoted(name)}{' DESC' if backwards else ''}" for name in one.key)
    row = file.execute(
        STATEMENTS.edge.filled(
            quoted=", ".join(written(quoted(name)) for name in one.key),
            table=quoted(one.name),
            order=order,
        )
    ).fetchone()
    return None if row is None else list(row)


def fill(ground: Ground, one: Making, pace: Pace) -> None:
    """Copy what was there when the copy began, batch by batch; what came or changed since is noted."""
    file = ground.connection
    job = job_of(ground, one)
    while job is not None and job.state == "running":
        pace.batch(f"{one.name}: copy rows", partial(_copy_next, file, one, job), job=job.id)
        job = jobs.read(file, job.id)


def _copy_next(file: File, one: Making, job: Job, size: int) -> int:
    if job.planned or job.last_key is None:
        jobs.set_state(file, job.id, "complete")
        return 0
    key = listed(one.key)
    above = "" if job.planned_to is None else f"({key}) > ({', '.join(job.planned_to)}) AND "
    found = file.execute(
        STATEMENTS.page.filled(
            quoted=", ".join(written(quoted(name)) for name in one.key),
            table=quoted(one.name),
            range=f"WHERE {above}({key}) <= ({', '.join(job.last_key)})",
            key=key,
        ),
        {"before": size - 1},
    ).fetchone()
    # Fewer rows than a batch has are left: it goes as far as the copy.
    upto = job.last_key if found is None else list(found)
    rows = file.execute(
        STATEMENTS.copy.filled(
            into=quoted(one.new),
            columns=columns_of(one),
            table=quoted(one.name),
            # One upper bound: with the last key's too, SQLite took that one and read on to it.
            range=f"WHERE {above}({key}) <= ({', '.join(upto)})",
            key=key,
        )
    ).rowcount
    batch = Range(by="key", lower=job.planned_to, upper=upto, stripe=None)
    (number,) = jobs.add_batches(file, job.id, [batch], "plan")
    send(file, FILE_JOBS.done, batch=number, rows=rows, duration_ms=None)
    jobs.advance(file, job.id, planned_to=upto, planned=upto == job.last_key, batch_rows=size)
    return rows


def pending(file: File, one: Making) -> int:
    """How many rows are noted."""
    return int(file.value(STATEMENTS.rows.filled(table=quoted(one.notes))))


def catch_up(file: File, one: Making, rows: int, *, last: bool = False) -> int:
    """Read noted rows again, and take their notes away; how many notes. Call it in a transaction.

    What is in the way of a row is out of date, and noted itself. The `last` time all are read again at
    once, and nothing may be in the way; the notes stay for what is to be checked of these rows.
    """
    given: dict[str, Any] = {"rows": rows}
    shared = {
        "into": quoted(one.new),
        "key": listed(one.key),
        "noted": ", ".join(one.noted),
        "notes": quoted(one.notes),
    }
    file.execute(STATEMENTS.forget_changed.filled(**shared), given)
    file.execute(
        STATEMENTS.copy_changed.filled(
            **shared,
            columns=columns_of(one),
            table=quoted(one.name),
            conflict="ABORT" if last else "REPLACE",
        ),
        given,
    )
    if last:
        return 0
    return file.execute(
        STATEMENTS.forget_notes.filled(noted=shared["noted"], notes=shared["notes"]), given
    ).rowcount


def copy_whole(file: File, one: Making) -> None:
    """Copy all rows at once. Call it in a transaction."""
    file.execute(
        STATEMENTS.copy.filled(
            into=quoted(one.new),
            columns=columns_of(one),
            table=quoted(one.name),
            range="",
            key=listed(one.key),
        )
    )
