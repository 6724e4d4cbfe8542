"""What the ledger says of the backfills."""

from typing import Literal

from control.stage import Standing
from control.verification.check import Check
from sql.ledger import JOBS, send
from worker import jobs


def every_backfill(ground: Standing, database: Literal["postgres", "sqlite"]) -> Check:
    """Every table's backfill complete, and no row set aside."""
    name, query = "ledger: every backfill is complete", "jobs.of_migration"
    if not ground.migration:
        return Check(name, None, "there is no ledger yet", query, database)
    begun = jobs.of_migration(ground.connection, ground.migration)
    aside = send(ground.connection, JOBS.count_quarantined, migration=ground.migration)[0]["count"]
    open_jobs = [f"{job.table} is {job.state}" for job in begun if job.state != "complete"]
    evidence = f"{len(begun)} jobs complete, {sum(job.rows_total for job in begun)} rows"
    if open_jobs or aside:
        evidence = "; ".join([*open_jobs, *([f"{aside} rows in quarantine"] if aside else [])])
    return Check(name, not open_jobs and not aside, evidence, query, database)
