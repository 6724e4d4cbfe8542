"""When a job is complete: no gap in the ledger, nothing set aside, no row without its tenant.

What of that only the database can tell, a `Scan` does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from sql.database import Database
from sql.errors import CatalogError, JobStoppedError, QuarantineError
from sql.job import Range
from sql.ledger import JOBS, send
from worker import jobs, ledger
from worker.jobs import Job

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Ranges that the final scan hands over at a time.
SWEPT = 1_000
#: So many sweeps in a row that each found something are not the application's few moved rows any more.
SWEEPS = 20
#: So often rows are gone for that come meanwhile, where a job takes rows to another tenant: what is left then
#: is for the next round of `tenants assign`, which first takes away what they go along with.
CHASES = 2


@dataclass(frozen=True, slots=True)
class Scan:
    """The final scan of a job.

    `left` counts the rows that it is still to write, quarantined ones among them. `ranges` cuts what could be
    written of so many rows into ranges, once the rows whose tenant no source tells are set aside.
    """

    left: Callable[[], int]
    ranges: Callable[[int], list[Range]]


def proved(connection: Database, migration: int, job: Job, scan: Scan) -> bool:
    """Prove a job complete of which nothing is pending; rows that are left are batches now, to be done.

    Raises:
        CatalogError: the ledger has a gap.
        JobStoppedError: sweep after sweep found rows.
        QuarantineError: rows are set aside.
    """
    send(connection, JOBS.count_settled, job=job.id)
    _without_gap(connection, job)
    left = scan.left()
    chased = job.spec.moving is not None and job.sweeps >= CHASES
    if left and not chased and _swept(connection, job, left, scan):
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


def _without_gap(connection: Database, job: Job) -> None:
    if job.last_key is None:
        return
    gaps = send(connection, JOBS.gaps, job=job.id, stripes=job.spec.stripes, last_key=job.last_key)
    if gaps:
        gap = gaps[0]
        raise CatalogError(f"the ledger of {job.table}: {gap['gap']}, stripe {gap['stripe']}")


def _swept(connection: Database, job: Job, left: int, scan: Scan) -> bool:
    """Cut what is left into ranges of the key; True if there were any.

    Such rows were moved by the application between two visits, or have a new key. Rows whose tenant no
    source tells go into quarantine; the application may go on writing such rows, so they are no reason to
    look again.
    """
    again = scan.ranges(left)
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


def swept_together(left: int, rows: int) -> int:
    """How many of the rows that are left make one range of a sweep: those among some 20,000 rows, 1 to 2,500.

    A batch reads all that lies between its bounds, so few rows far apart are ranges of their own.
    """
    return min(2_500, max(1, 20_000 * left // max(1, rows)))
