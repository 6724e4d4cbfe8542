"""Verification of a file: the whole looked at again, by other means than those that made it.

Will do: take the write guard away if nothing needed it for the quiet time, else leave it and say so; then
every check of `control.sqlite.verification`, which changes nothing. Gate: none. Undoing: the guard is put
back first of all, for the old code is coming back.
"""

from collections.abc import Iterator

from control.plan.model import Plan
from control.sqlite import guard, retiring
from control.sqlite.stage import Ground, Step, WithoutStatements
from control.sqlite.verification.checklist import run_checks
from control.stages.verify import settle
from sql.sqlite.facts import Catalog


class Verify(WithoutStatements):
    """The stage `verify`."""

    name = "verify"

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """The write guard comes back."""
        yield from guard.put(plan, original)

    def work(self, ground: Ground) -> None:
        """Take the guard away if it may go; then run every check and say each.

        Raises:
            VerificationError: at least one is false.
            CancelledError: the migration is cancelled.
        """
        retiring.retire(ground, self.name)
        settle(ground, run_checks(ground))


STAGE = Verify()
