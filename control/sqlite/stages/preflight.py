"""Preflight: every fact about the file looked at before anything is touched.

Will do: nothing in the file. Gate: no finding stops. Undoing: nothing to undo.
"""

from control.sqlite.preflight.checklist import look
from control.sqlite.stage import Ground, WithoutStatements
from sql.errors import GateClosedError


class Preflight(WithoutStatements):
    """The stage `preflight`."""

    name = "preflight"

    def work(self, ground: Ground) -> None:
        """Look, tell every warning, and let nothing begin that a finding stops.

        Raises:
            GateClosedError: at least one finding stops, each with its way out.
        """
        findings = look(ground)
        for finding in findings:
            if finding.level == "warn":
                ground.notify(f"preflight: {finding.name}: {finding.fact}; {finding.way_out}")
        stops = [f"{f.name}: {f.fact} ({f.way_out})" for f in findings if f.level == "stop"]
        if stops:
            raise GateClosedError(self.name, stops, "Mend that; `tenantry check` shows the whole list")


STAGE = Preflight()
