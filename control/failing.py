"""When a job stops itself, whichever database it is in."""

from sql.database import Database
from sql.errors import JobStoppedError
from sql.ledger import JOBS, send
from worker import jobs
from worker.jobs import Job


def stop_if_failing(connection: Database, job: Job) -> None:
    """Stop a job of which more than half of the last 50 batches failed (lessons: GitLab's rule).

    Raises:
        JobStoppedError: it is stopped.
    """
    row = send(connection, JOBS.failing, job=job.id)[0]
    if row["touched"] >= 50 and row["failed"] * 2 > row["touched"]:
        reason = f"{row['failed']} of the last {row['touched']} batches failed: {row['error']}"
        jobs.set_state(connection, job.id, "stopped", reason)
        raise JobStoppedError(job.part, reason)
