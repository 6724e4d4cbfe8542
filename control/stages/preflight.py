"""Preflight: every fact looked at before anything is touched.

Will do: nothing in the database, but to keep in the ledger what the server has counted so far. Gate: no
finding stops. Undoing: nothing to undo.
"""

from control.preflight.checklist import look
from control.preflight.finding import let_begin
from control.stage import Ground, WithoutStatements
from control.verification import baseline


class Preflight(WithoutStatements):
    """The stage `preflight`."""

    name = "preflight"

    def work(self, ground: Ground) -> None:
        """Look, tell every warning, and let nothing begin that a finding stops.

        Raises:
            GateClosedError: at least one finding stops, each with its way out.
        """
        let_begin(look(ground), ground.notify)
        baseline.keep(ground)


STAGE = Preflight()
