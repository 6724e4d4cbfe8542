"""What a display beside a run has to show."""

from dataclasses import dataclass
from datetime import datetime

from control.status import Status


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show: no `status` before the ledger knows the migration."""

    status: Status | None
    now: datetime
    application: str | None = None
    """One line about the application, where there is one to tell about: its latency."""
    notices: tuple[str, ...] = ()
    """What the conductor said lately, oldest first."""
    said: int = 0
    """How much it has said in all."""
