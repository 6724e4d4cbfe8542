"""Preflight: every fact looked at before anything is touched.

Will do: nothing in the database, but to keep in the ledger what the server has counted so far, and what it is
going to cost. Gate: no finding stops. Undoing: nothing to undo.
"""

from control import budget
from control.preflight.checklist import look_and_estimate
from control.preflight.finding import let_begin
from control.stage import Ground, WithoutStatements
from control.verification import baseline
from sql.postgres.surroundings import position


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
        baseline.keep(ground)
        now = position(ground.connection)
        budget.keep(ground.memory, costs, disk=now.disk, wal=now.wal)


STAGE = Preflight()
