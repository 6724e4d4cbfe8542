"""Preflight: every fact about the file looked at before anything is touched.

Will do: nothing in the file, but to keep in the ledger what it is going to cost. Gate: no finding stops.
Undoing: nothing to undo.
"""

from control import budget
from control.preflight.finding import let_begin
from control.sqlite.preflight.checklist import look_and_estimate
from control.sqlite.stage import Ground, WithoutStatements
from sql.sqlite.preflight import settings


class Preflight(WithoutStatements):
    """The stage `preflight`."""

    name = "preflight"

    def work(self, ground: Ground) -> None:
        """Look, tell every warning, and let nothing begin that a finding stops.

        Raises:
            GateClosedError: at least one finding stops, each with its way out.
        """
        findings, costs = look_and_estimate(ground)
        let_begin(findings, ground.notify)
        budget.keep(ground.memory, costs, disk=settings(ground.connection).bytes_, wal=None)


STAGE = Preflight()
