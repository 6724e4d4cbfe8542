"""Cuts a table into batches: contiguous key ranges, or striped ones.

Bounds are frozen when the job begins. Planning goes ahead of the work by one group of ranges at a time,
so that it costs the same memory on a table of any size and the first batch starts at once.

Stripes: rows of one page that are updated in *different* transactions leave room for each other, so the
updates stay in their page, write no index and grow nothing. A group of neighbouring ranges is visited once
per stripe, each visit taking the rows whose key hashes to it (design, section 4: 2 to 3 times as fast for a
key that follows the heap, and half as fast for a random one).
"""

from collections.abc import Iterator, Sequence

from sql.job import JobSpec, Key, Range
from sql.postgres.batch import JobSQL, bound_parameters, correlation
from sql.postgres.connection import Connection
from worker import ledger
from worker.ledger import Job

#: Visits per range; a power of two, for the hash is masked.
STRIPES = 8
#: Ranges in a group: enough that two workers seldom meet in a page, few enough that it stays in cache.
RANGES = 16
#: Above this the key follows the heap (pg_stats.correlation); between the two measured cases nothing is
#: lost either way, so the middle decides.
FOLLOWS_HEAP = 0.5
#: No batch is cut smaller, or larger, than this many rows.
SMALLEST, LARGEST = 100, 100_000


def stripes_for(connection: Connection, spec: JobSpec, paging: str) -> int:
    """How many stripes a table gets: as the plan says, or as its key lies in the heap."""
    if paging == "auto":
        return STRIPES if correlation(connection, spec) >= FOLLOWS_HEAP else 1
    return STRIPES if paging == "striped" else 1


def last_key(connection: Connection, spec: JobSpec) -> Key | None:
    """The highest key now: the frozen bound. None for an empty table."""
    row = connection.execute(JobSQL(spec).last_key(), {}).fetchone()
    return list(row[0]) if row is not None else None


def edges(connection: Connection, job: Job, *, width: int) -> list[Key]:
    """The upper bounds of the next ranges, `width` rows each, the last one at the frozen bound.

    Raises:
        ValueError: the job has no last key; it has nothing to cut.
    """
    if job.last_key is None:
        raise ValueError(f"job {job.id} has no last key")
    parameters = {"width": width, "rows": width * RANGES, **bound_parameters("upper", job.last_key)}
    if job.planned_to is not None:
        parameters |= bound_parameters("lower", job.planned_to)
    statement = JobSQL(job.spec).edges(lower=job.planned_to is not None)
    found: list[Key] = [list(row[0]) for row in connection.execute(statement, parameters)]
    if len(found) < RANGES and job.last_key not in found:
        found.append(job.last_key)
    return found


def ranges(lower: Key | None, uppers: Sequence[Key], stripes: int) -> Iterator[Range]:
    """A group's batches in the order of their visits: every range of a stripe, then the next stripe."""
    for stripe in range(stripes):
        below = lower
        for upper in uppers:
            yield Range(lower=below, upper=upper, stripe=stripe)
            below = upper


def plan_group(connection: Connection, job: Job, *, batch_rows: int) -> list[int]:
    """Plan the next group of a job and move its cursor, in one transaction; the new batches' ids."""
    uppers = edges(connection, job, width=batch_rows * job.spec.stripes)
    with connection.transaction():
        ids = ledger.add_batches(connection, job.id, ranges(job.planned_to, uppers, job.spec.stripes), "plan")
        ledger.advance(
            connection,
            job.id,
            planned_to=uppers[-1],
            planned=uppers[-1] == job.last_key,
            batch_rows=batch_rows,
        )
    return ids


def first_size(wanted: int, rows: int, stripes: int) -> int:
    """The size of the first batches: as wanted, but a small table is cut into a whole group too.

    In 2 ranges instead of 16, two workers met in every page and only 20 % of the updates stayed in theirs
    (40,000 rows, 8 stripes).
    """
    return max(SMALLEST, min(wanted, rows // (stripes * RANGES))) if stripes > 1 else wanted


def resized(batch_rows: int, durations: Sequence[float], target: float) -> int:
    """The next batch size from the last durations (same unit as `target`), newest first.

    The p90 of the last eleven is held against the target: growth at most half again, a tenth where it took
    more than five times the target, 100 to 100,000 rows (lessons: spirit's numbers).
    """
    last = sorted(durations[:11])
    if len(last) < 5:
        return batch_rows
    p90 = last[round(0.9 * (len(last) - 1))]
    change = 0.1 if p90 > 5 * target else min(1.5, target / max(p90, 0.001 * target))
    return round(min(LARGEST, max(SMALLEST, batch_rows * change)))
