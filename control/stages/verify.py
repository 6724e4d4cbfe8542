"""Verification: the whole looked at again, by other means than those that made it.

Will do: take the write guard away if nothing needed it for the quiet time, else leave it and say so; then
every check of `control.verification`, which changes nothing. Gate: none. Undoing: the guard is put back first
of all, for the old code is coming back.
"""

from collections.abc import Iterator, Sequence

from control import guard, retiring
from control.plan.model import Plan
from control.stage import Closed, Ground, Standing, Step
from control.verification.check import Check
from control.verification.checklist import run_checks
from sql.errors import VerificationError
from sql.postgres.facts import Catalog


class Verify:
    """The stage `verify`."""

    name = "verify"

    def gate(self, ground: Ground) -> Closed | None:  # noqa: ARG002  # it may look at any time
        """Looking is always allowed."""
        return None

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """The write guard goes, if it may."""
        # With a schema for each tenant it is held off with the shared tables, which it is the way back of.
        if not plan.separates:
            yield from retiring.steps(plan, original)

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """The write guard comes back."""
        if not plan.separates:
            yield from guard.put(plan, original)

    def work(self, ground: Ground) -> None:
        """Run every check and say each.

        Raises:
            VerificationError: at least one is false.
        """
        settle(ground, run_checks(ground))


def settle(ground: Standing, checks: Sequence[Check]) -> None:
    """Keep what was looked at, and say each.

    Raises:
        VerificationError: at least one is false.
    """
    ground.memory.remember("verification", {"checks": [check.shown() for check in checks]})
    for check in checks:
        told = {True: "true", False: "FALSE", None: "told"}[check.ok]
        ground.notify(f"verify: {told}: {check.name}: {check.evidence}")
    failed = [f"{check.name}: {check.evidence}" for check in checks if check.ok is False]
    if failed:
        raise VerificationError(failed)


STAGE = Verify()
