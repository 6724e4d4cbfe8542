"""The deployment that only the operator can do: code that reads and writes the tenant column.

Will do: nothing in the database. Gate: the operator's word, for after this stage things are taken away that
the old code needs. Undoing: nothing; the guard and the column's default still serve the old code.
"""

from control.stage import Closed, Ground, Standing, WithoutStatements

_OPENS_IN_WINDOW = (
    "Deploy the tenant-aware code without starting it, then `tenantry confirm application` and "
    "`tenantry run --maintenance-window`"
)
_OPENS = "Deploy the tenant-aware code, then `tenantry confirm application`"


class Application(WithoutStatements):
    """The stage `application`."""

    name = "application"

    def gate(self, ground: Ground) -> Closed | None:
        """Closed until the operator has confirmed the deployment."""
        return unless_confirmed(ground, self.name)


def unless_confirmed(ground: Standing, stage: str) -> Closed | None:
    """What to deploy and confirm; None once that is done."""
    if stage in ground.confirmed:
        return None
    column = ground.plan.tenant.column
    return Closed(
        (f"nobody has confirmed that all code reads and writes {column}",),
        _OPENS_IN_WINDOW if ground.window else _OPENS,
    )


STAGE = Application()
