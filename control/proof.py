"""The proof that a job is complete: no gap in the ledger, nothing set aside, no row without its tenant."""

import psycopg

from control import completion
from control.completion import SWEPT, Scan, swept_together
from sql.job import By, JobSpec, Range
from sql.postgres.batch import JobSQL
from sql.postgres.connection import Connection
from worker.failure import Failure, sorted_by
from worker.jobs import Job


def proved(connection: Connection, migration: int, job: Job) -> bool:
    """Prove a job complete of which nothing is pending; rows that are left are batches now, to be rung.

    Raises:
        CatalogError: the ledger has a gap.
        JobStoppedError: sweep after sweep found rows.
        QuarantineError: rows are set aside.
    """
    # What is copied stays where it is: nothing tells it but the comparison that comes after.
    copies = job.spec.copying is not None
    scan = Scan(
        left=lambda: 0 if copies else unfilled(connection, job.spec),
        ranges=lambda left: _unswept(connection, job, left),
    )
    return completion.proved(connection, migration, job, scan)


def unfilled(connection: Connection, spec: JobSpec) -> int:
    """Count the rows that a job is still to write, quarantined ones among them."""
    (left,) = connection.execute(JobSQL(spec).unfilled(), {}).fetchone() or (0,)
    return int(left)


def _unswept(connection: Connection, job: Job, left: int) -> list[Range]:
    """The ranges of a sweep, once the rows whose tenant no source tells are set aside."""
    job_sql = JobSQL(job.spec)
    asked = {"job": job.id, "each": swept_together(left, job.rows_total), "most": SWEPT}
    try:
        connection.execute(job_sql.set_aside(), {"job": job.id})
        found = connection.execute(job_sql.sweep(), asked).fetchall()
    except psycopg.Error as error:
        if sorted_by(error.sqlstate) is not Failure.DATA:
            raise
        # The source fails for a row that came after the bound, and the error doesn't say for which:
        # batches find it, and set it aside.
        found = connection.execute(job_sql.sweep(ask=False), asked).fetchall()
    by: By = "key" if job.spec.key else "page"
    return [Range(by=by, lower=lower, upper=upper, stripe=None) for lower, upper in found]
