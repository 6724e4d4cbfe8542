"""The proof that a job is complete: no gap in the ledger, nothing set aside, no row without its tenant."""

import psycopg
import structlog

from sql.errors import CatalogError, JobStoppedError, QuarantineError
from sql.job import By, JobSpec, Range
from sql.postgres.batch import JobSQL
from sql.postgres.connection import Connection
from sql.postgres.ledger import JOBS, send
from worker import batch as batches
from worker import jobs, ledger
from worker.batch import Failure
from worker.jobs import Job

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Ranges that the final scan hands over at a time.
SWEPT = 1_000
#: So many sweeps in a row that each found something are not the application's few moved rows any more.
SWEEPS = 20
#: So often rows are gone for that come meanwhile, where a job takes rows to another tenant: what is left then
#: is for the next round of `tenants assign`, which first takes away what they go along with.
CHASES = 2


def proved(connection: Connection, migration: int, job: Job) -> bool:
    """Prove a job complete of which nothing is pending; rows that are left are batches now, to be rung.

    Raises:
        CatalogError: the ledger has a gap.
        JobStoppedError: sweep after sweep found rows.
        QuarantineError: rows are set aside.
    """
    send(connection, JOBS.count_settled, job=job.id)
    _without_gap(connection, job)
    # What is copied stays where it is: nothing tells it but the comparison that comes after.
    left = unfilled(connection, job.spec) if job.spec.copying is None else 0
    chased = job.spec.moving is not None and job.sweeps >= CHASES
    if left and not chased and _swept(connection, job, left):
        return False
    (aside,) = send(connection, JOBS.job_quarantined, job=job.id)
    if aside["count"]:
        fact = f"{aside['count']} row(s) of {job.part} in quarantine, {aside['key']}: {aside['message']}"
        raise QuarantineError("backfill", [fact], "Mend the cause, then `tenantry retry` and `tenantry run`")
    if left and not chased:
        return False  # neither swept nor set aside: they were on their way from the one to the other
    jobs.set_state(connection, job.id, "complete")
    # No batch is left to say so: a worker that was held and killed left its reason.
    ledger.clear_held(connection, migration)
    log.info("job complete", table=job.table)
    return True


def unfilled(connection: Connection, spec: JobSpec) -> int:
    """Count the rows that a job is still to write, quarantined ones among them."""
    (left,) = connection.execute(JobSQL(spec).unfilled(), {}).fetchone() or (0,)
    return int(left)


def _without_gap(connection: Connection, job: Job) -> None:
    if job.last_key is None:
        return
    gaps = send(connection, JOBS.gaps, job=job.id, stripes=job.spec.stripes, last_key=job.last_key)
    if gaps:
        gap = gaps[0]
        raise CatalogError(f"the ledger of {job.table}: {gap['gap']}, stripe {gap['stripe']}")


def _swept(connection: Connection, job: Job, left: int) -> bool:
    """Cut what is left into ranges of the key; True if there were any.

    Such rows were moved by the application between two visits, or have a new key. Rows whose tenant no
    source tells go into quarantine; the application may go on writing such rows, so they are no reason to
    look again.
    """
    again = _unswept(connection, job, left)
    if not again:
        return False
    if job.sweeps >= SWEEPS:
        reason = f"{SWEEPS} sweeps each found rows without a tenant, such as {again[0].upper}"
        jobs.set_state(connection, job.id, "stopped", reason)
        raise JobStoppedError(job.part, reason)
    log.info("rows are left for a sweep", table=job.part, rows=left, ranges=len(again))
    with connection.transaction():
        jobs.add_batches(connection, job.id, again, "sweep")
        send(connection, JOBS.count_sweep, job=job.id, left=left, whole=len(again) < SWEPT)
    return True


def _unswept(connection: Connection, job: Job, left: int) -> list[Range]:
    """The ranges of a sweep, once the rows whose tenant no source tells are set aside."""
    job_sql = JobSQL(job.spec)
    asked = {"job": job.id, "each": swept_together(left, job.rows_total), "most": SWEPT}
    try:
        connection.execute(job_sql.set_aside(), {"job": job.id})
        found = connection.execute(job_sql.sweep(), asked).fetchall()
    except psycopg.Error as error:
        if batches.classify(error) is not Failure.DATA:
            raise
        # The source fails for a row that came after the bound, and the error doesn't say for which:
        # batches find it, and set it aside.
        found = connection.execute(job_sql.sweep(ask=False), asked).fetchall()
    by: By = "key" if job.spec.key else "page"
    return [Range(by=by, lower=lower, upper=upper, stripe=None) for lower, upper in found]


def swept_together(left: int, rows: int) -> int:
    """How many of the rows that are left make one range of a sweep: those among some 20,000 rows, 1 to 2,500.

    A batch reads all that lies between its bounds, so few rows far apart are ranges of their own.
    """
    return min(2_500, max(1, 20_000 * left // max(1, rows)))
