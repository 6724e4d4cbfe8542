"""`verify`: every check of the result, as often as one likes."""

from rich.text import Text

from control import conductor
from control.cli.options import DEFAULT_FILE, AsJson, File, connect_to, console, say_json
from control.plan.model import Plan
from control.plan.reading import read_plan
from control.sqlite import conductor as files
from control.sqlite.verification.checklist import run_checks as check_file
from control.verification.check import Check
from control.verification.checklist import run_checks
from sql.database import Database
from sql.errors import NoMigrationError, VerificationError
from sql.sqlite.connection import File as SqliteFile

_MARKS = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("·", "dim")}


def verify(file: File = DEFAULT_FILE, *, as_json: AsJson = False) -> None:
    """Check the result by other means than those that made it; nothing is changed."""
    plan = read_plan(file)
    with connect_to(plan, "verify") as connection:
        checks = _checks(plan, connection)
    if as_json:
        say_json([check.shown() for check in checks])
    else:
        shown = console()
        for check in checks:
            mark, style = _MARKS[check.ok]
            shown.print(
                Text(f"{mark} ", style=style) + Text(f"{check.name}: ") + Text(check.evidence, style="dim"),
                soft_wrap=True,
            )
    failed = [f"{check.name}: {check.evidence}" for check in checks if check.ok is False]
    if failed:
        raise VerificationError(failed)


def _checks(plan: Plan, connection: Database) -> list[Check]:
    if isinstance(connection, SqliteFile):
        on_file = files.survey(plan, connection, lambda _line: None)
        if not on_file.migration:
            raise NoMigrationError(plan.name)
        return check_file(on_file)
    ground = conductor.survey(plan, connection, lambda _line: None)
    if not ground.migration:
        raise NoMigrationError(plan.name)
    return run_checks(ground)
