"""The deployment that only the operator can do: code that reads and writes the tenant column.

Will do: nothing in the file. Gate: the operator's word. Undoing: nothing.
"""

from control.sqlite.stage import Ground, WithoutStatements
from control.stage import Closed


class Application(WithoutStatements):
    """The stage `application`."""

    name = "application"

    def gate(self, ground: Ground) -> Closed | None:
        """Closed until the operator has confirmed the deployment."""
        if self.name in ground.confirmed:
            return None
        return Closed(
            (f"nobody has confirmed that all code reads and writes {ground.plan.tenant.column}",),
            "Deploy the tenant-aware code, then `tenantry confirm application`",
        )


STAGE = Application()
