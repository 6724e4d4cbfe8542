"""The deployment that only the operator can do: code that reads and writes the tenant column.

Will do: nothing in the file. Gate: the operator's word. Undoing: nothing.
"""

from control.sqlite.stage import Ground, WithoutStatements
from control.stage import Closed
from control.stages.application import unless_confirmed


class Application(WithoutStatements):
    """The stage `application`."""

    name = "application"

    def gate(self, ground: Ground) -> Closed | None:
        """Closed until the operator has confirmed the deployment."""
        return unless_confirmed(ground, self.name)


STAGE = Application()
