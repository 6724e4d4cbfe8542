"""The operator of a demo: deploys the application's new code where the migration waits for it."""

from collections.abc import Callable

from control.demo.application_process import ApplicationProcess
from sql.errors import GateClosedError


def every_stage(
    run: Callable[[], None], confirm: Callable[[str], None], application: ApplicationProcess
) -> None:
    """Go to the gate of `application`, deploy the new code, vouch for it, and go on to the end.

    Args:
        run: goes through every open stage.
        confirm: vouches for the stage of this name.
        application: running the old code.

    Raises:
        TenantryError: a stage or the application failed, or another gate is closed.
    """
    try:
        run()
    except GateClosedError as closed:
        if closed.stage != "application":
            raise
    application.switch("new")
    confirm("application")
    run()
