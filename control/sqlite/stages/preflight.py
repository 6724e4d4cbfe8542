"""Preflight: every fact about the file looked at before anything is touched.

Will do: nothing in the file. Gate: no finding stops. Undoing: nothing to undo.
"""

from control.preflight.finding import let_begin
from control.sqlite.preflight.checklist import look
from control.sqlite.stage import Ground, WithoutStatements


class Preflight(WithoutStatements):
    """The stage `preflight`."""

    name = "preflight"

    def work(self, ground: Ground) -> None:
        """Look, tell every warning, and let nothing begin that a finding stops.

        Raises:
            GateClosedError: at least one finding stops, each with its way out.
        """
        let_begin(look(ground), ground.notify)


STAGE = Preflight()
