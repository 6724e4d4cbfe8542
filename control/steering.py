"""What an operator says to a migration under way: pause, resume, cancel, tune. Each is in the audit.

A word reaches workers at their next batch and the controller before its next step; both read the ledger. A
cancel reaches the controller within its step, too.
"""

from collections.abc import Mapping

from control import tuning
from control.conductor import settings_of
from control.course import actor
from control.plan.model import Plan
from sql.database import Database
from sql.errors import GivenWrongError
from worker import audit, ledger
from worker.ledger import Migration, MigrationState

#: Where the ledger keeps which way a migration went when it was paused or cancelled.
MEMORY = "held"


def pause(plan: Plan, connection: Database) -> None:
    """Let no further batch and no further step begin.

    Raises:
        NoMigrationError: there is no such migration.
        GivenWrongError: it is over, or cancelled.
    """
    _hold(plan, connection, "pause", {"running", "rolling back"}, "paused")


def resume(plan: Plan, connection: Database) -> None:
    """Let a migration go on that is paused or cancelled, the way it went.

    A run or a way back that has ended by then is for `run` or `rollback` to begin.

    Raises:
        NoMigrationError: there is no such migration.
        GivenWrongError: it is over.
    """
    with connection.transaction():
        migration = ledger.hold(connection, plan.name)
        if migration.state in {"running", "rolling back"}:
            return
        if migration.state == "complete":
            raise GivenWrongError(f"{plan.name} is complete; there is nothing to resume")
        held = ledger.Memory(connection, migration.id).recall(MEMORY) or {}
        ledger.set_state(connection, migration.id, held.get("state", "running"))
        audit.record(connection, migration.id, actor(), "resume", "")


def cancel(plan: Plan, connection: Database) -> None:
    """End a run or a way back from elsewhere: its controller cuts its statement short, workers stop.

    Raises:
        NoMigrationError: there is no such migration.
        GivenWrongError: it is over.
    """
    _hold(plan, connection, "cancel", {"running", "rolling back", "paused"}, "cancelled")


def _hold(
    plan: Plan, connection: Database, word: str, from_: set[MigrationState], to: MigrationState
) -> None:
    with connection.transaction():
        migration = ledger.hold(connection, plan.name)
        if migration.state == to:
            return
        if migration.state not in from_:
            raise GivenWrongError(f"{plan.name} is {migration.state}; there is nothing to {word}")
        if migration.state != "paused":
            ledger.Memory(connection, migration.id).remember(MEMORY, {"state": migration.state})
        ledger.set_state(connection, migration.id, to)
        audit.record(connection, migration.id, actor(), word, "")


def tune(plan: Plan, connection: Database, given: Mapping[str, str]) -> Migration:
    """Set keys of the plan for the migration under way; an empty value gives the plan's own back.

    All of them or none; what else the plan's file says by now comes into force with them.

    Raises:
        NoMigrationError: there is no such migration.
        GivenWrongError: a value that a key can't have, values that don't fit together, or it is over.
    """
    with connection.transaction():
        before = ledger.hold(connection, plan.name)
        if before.state == "complete":
            raise GivenWrongError(f"{plan.name} is complete; there is nothing to tune")
        tuned = tuning.changed(before.tuned, given)
        settings = settings_of(plan, throttle=before.settings.throttle, tuned=tuned)
        # Who streamed when the run began is the run's to say.
        streamed = {"standbys": before.settings.standbys, "timeline": before.settings.timeline}
        settings = settings.model_copy(update=streamed)
        ledger.tune(connection, before.id, tuned, settings)
        for key in given:
            was, now = _in_force(plan, before.tuned, key), _in_force(plan, tuned, key)
            if was != now:
                audit.record(connection, before.id, actor(), "tune", f"{key} from {was} to {now}")
    return ledger.read(connection, plan.name)


def _in_force(plan: Plan, tuned: tuning.Tuned, key: str) -> str:
    if key in tuned:
        return tuning.told(key, tuned[key])
    return f"{tuning.told(key, tuning.own(plan, key))} (the plan's)"
