"""Preflight: every fact looked at before anything is touched.

Will do: nothing in the database. Gate: no finding stops. Undoing: nothing to undo.
"""

from collections.abc import Iterator

from control.plan.model import Plan
from control.preflight.checklist import look
from control.stage import Closed, Ground, Step
from sql.errors import GateClosedError
from sql.postgres.catalog import Catalog


class Preflight:
    """The stage `preflight`."""

    name = "preflight"

    def gate(self, ground: Ground) -> Closed | None:  # noqa: ARG002  # looking is its work
        """Looking is always allowed."""
        return None

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:  # noqa: ARG002  # the protocol's
        """It changes nothing."""
        return iter(())

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:  # noqa: ARG002  # the protocol's
        """It left nothing."""
        return iter(())

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
