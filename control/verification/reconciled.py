"""Rows counted against the ledger: what the batches filled is there, or somebody deleted it."""

from collections.abc import Iterator, Sequence

from control.stage import Ground
from control.verification import baseline
from control.verification.check import Check, Subject
from sql.postgres import aftermath


def checks(ground: Ground, subjects: Sequence[Subject]) -> Iterator[Check]:
    """Every table that batches filled. Rows that came later may hide a loss; a loss past them is seen."""
    began = baseline.recall(ground)
    if began is None or not ground.migration:
        return
    reset = aftermath.counters(ground.connection).reset
    filled = aftermath.filled(ground.connection, ground.migration)
    gone = aftermath.parts_gone(ground.connection, ground.migration)
    for subject in subjects:
        if subject.name not in filled:
            continue
        name, rows = f"{subject.name}: no row that was filled is missing", filled[subject.name]
        # Counted after the rows: one deleted in between is only counted twice.
        deleted = aftermath.deleted(ground.connection, baseline.parts(subject.found))
        deleted -= began.deleted.get(subject.name, 0)
        there = subject.tenants.total
        told = f"the ledger counts {rows} filled; {there} are there, {deleted} were deleted since"
        if reset != began.counters.reset or deleted < 0:
            told = (
                f"the ledger counts {rows} filled, {there} are there; the server forgot how many were deleted"
            )
            yield Check(name, None, told, "aftermath.filled")
        elif gone.get(subject.name):
            told += f"; partitions are gone with theirs: {', '.join(gone[subject.name])}"
            yield Check(name, None, told, "aftermath.filled")
        else:
            missing = rows - there - deleted
            if missing > 0:
                told += (
                    f": {missing} went without a DELETE, by TRUNCATE for one; a session that has just "
                    "deleted is counted some seconds later, so look again with `tenantry verify`"
                )
            yield Check(name, missing <= 0, told, "aftermath.filled")
