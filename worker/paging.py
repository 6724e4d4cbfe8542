"""Cuts a table into batches: ranges of its pages or of its key, each visited once or once per stripe.

Bounds are frozen when the job begins. Planning goes ahead of the work by one group of ranges at a time,
so that it costs the same memory on a table of any size and the first batch starts at once.

Stripes: rows of one page that are updated in *different* transactions leave room for each other, so the
updates stay in their page, write no index and grow nothing. A group of neighbouring ranges is visited once
per stripe (design, section 4). It is small, and one message or a few consecutive ones point at all of it:
workers keep to groups of their own, and a page is still in cache at its next visit.
"""

import math
import re
from collections.abc import Iterator, Sequence
from statistics import median

from sql.job import By, JobSpec, Key, Range
from sql.postgres.batch import JobSQL, bound_parameters
from sql.postgres.connection import Connection
from worker import jobs
from worker.jobs import Job

#: Ranges in a group: between two visits to a page others go by, or the rows of the first would not be dead
#: yet for the second: a worker beside this one still has the snapshot that it began its batch with.
RANGES = 4
#: Ranges in a group that is visited once: a step of planning, no more.
CONTIGUOUS = 16
#: No batch is cut smaller, or larger, than this many rows.
SMALLEST, LARGEST = 100, 100_000

_PLACE = re.compile(r"\((\d+),\d+\)")


def group(spec: JobSpec) -> int:
    """The batches of a whole group of striped ranges; 1 where each range is visited once."""
    return RANGES * spec.stripes if spec.stripes > 1 else 1


def last_key(connection: Connection, spec: JobSpec, pages: int) -> Key | None:
    """The highest key, or the end of the `pages` of now: the frozen bound. None for an empty table."""
    if spec.paging == "pages":
        return place(pages) if pages else None
    row = connection.execute(JobSQL(spec).last_key(), {}).fetchone()
    return list(row[0]) if row is not None else None


def place(page: int) -> Key:
    """The place right before the first row of a page: line pointers count from 1."""
    return [f"({page},0)"]


def page_of(bound: Key) -> int:
    """The page of a place that `place` made.

    Raises:
        ValueError: not a place.
    """
    found = _PLACE.fullmatch(bound[0])
    if found is None:
        raise ValueError(f"{bound[0]!r} is no place in a heap")
    return int(found[1])


def uppers(connection: Connection, job: Job, batch_rows: int) -> list[Key]:
    """The upper bounds of the next group's ranges, the last one of the table at the frozen bound.

    Raises:
        ValueError: the job has no last key; it has nothing to cut.
    """
    if job.last_key is None:
        raise ValueError(f"job {job.id} has no last key")
    stripes = job.spec.stripes
    if job.spec.paging == "pages":
        return _pages(job, job.last_key, round(batch_rows * stripes / job.spec.rows_per_page))
    if job.planned_to is None:
        # One range, as wide as one batch is long: the first batch would else wait for a whole group's keys to
        # be read, from disk if need be.
        return _keys(connection, job, job.last_key, width=batch_rows, ranges=1)
    return _keys(
        connection,
        job,
        job.last_key,
        width=batch_rows * stripes,
        ranges=RANGES if stripes > 1 else CONTIGUOUS,
    )


def _pages(job: Job, last: Key, width: int) -> list[Key]:
    begin, end = page_of(job.planned_to) if job.planned_to else 0, page_of(last)
    # The last groups are smaller: a worker that takes a whole one as the others end would be waited for.
    width = max(math.ceil(width / 4), min(width, (end - begin) // (2 * RANGES)), 1)
    return [place(min(end, page + width)) for page in range(begin, min(end, begin + width * RANGES), width)]


def _keys(connection: Connection, job: Job, last: Key, *, width: int, ranges: int) -> list[Key]:
    parameters = {"width": width, "rows": width * ranges, **bound_parameters("upper", last)}
    if job.planned_to is not None:
        parameters |= bound_parameters("lower", job.planned_to)
    statement = JobSQL(job.spec).edges(lower=job.planned_to is not None)
    found: list[Key] = [list(row[0]) for row in connection.execute(statement, parameters)]
    if len(found) < ranges and last not in found:
        found.append(last)
    return found


def ranges(by: By, lower: Key | None, bounds: Sequence[Key], stripes: int) -> Iterator[Range]:
    """A group's batches in the order of their visits: every range of a stripe, then the next stripe."""
    for stripe in range(stripes):
        below = lower
        for upper in bounds:
            yield Range(by=by, lower=below, upper=upper, stripe=stripe if stripes > 1 else None)
            below = upper


def plan_group(connection: Connection, job: Job, *, batch_rows: int) -> list[int]:
    """Plan the next group of a job and move its cursor, in one transaction; the new batches' ids."""
    bounds = uppers(connection, job, batch_rows)
    by: By = "page" if job.spec.paging == "pages" else "key"
    with connection.transaction():
        ids = jobs.add_batches(
            connection, job.id, ranges(by, job.planned_to, bounds, job.spec.stripes), "plan"
        )
        jobs.advance(
            connection,
            job.id,
            planned_to=bounds[-1],
            planned=bounds[-1] == job.last_key,
            batch_rows=batch_rows,
        )
    return ids


def first_size(wanted: int, rows: int, spec: JobSpec) -> int:
    """The size of the first batches: as wanted, but a small table is cut into a few groups too.

    In 2 ranges instead of 16, two workers met in every page and only 20 % of the updates stayed in theirs
    (40,000 rows, 8 stripes).
    """
    most = min(wanted, spec.most_rows)
    return max(SMALLEST, min(most, rows // (spec.stripes * RANGES * 4))) if spec.stripes > 1 else most


def resized(
    batch_rows: int, measured: Sequence[tuple[int, float]], target: float, most_rows: int = LARGEST
) -> int:
    """The next batch size from the last batches' rows and durations (unit of `target`), newest first.

    The p90 of the last eleven is held against the target: growth at most half again, a tenth where it took
    more than five times the target, 100 to 100,000 rows (lessons: spirit's numbers), and never more than
    `most_rows`, the table's own limit.

    The change is one of the size that was measured, not of `batch_rows`, which is that of batches still to
    come: several groups are planned on the same measurements, and each grew on top of the one before, to four
    times the target. A batch that found few rows to fill is taken for one of `batch_rows`: where there is
    nothing to fill they may grow, or a table that is filled already takes as long again.
    """
    if len(last := measured[:11]) < 5:
        return batch_rows
    sizes = [rows if rows * 2 >= batch_rows else batch_rows for rows, _ in last]
    durations = sorted(took for _, took in last)
    p90 = durations[round(0.9 * (len(durations) - 1))]
    change = 0.1 if p90 > 5 * target else min(1.5, target / max(p90, 0.001 * target))
    return round(min(most_rows, max(SMALLEST, median(sizes) * change)))
