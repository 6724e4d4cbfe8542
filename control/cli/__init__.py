"""The `tenantry` command line: a file per noun, and one place where an error becomes a line and a status."""

import importlib
import os
import signal
import sqlite3
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import psycopg
import typer

from control.watch.printable import forgive, printable
from sql.errors import EmbeddedServerError, TenantryError
from sql.postgres.failure import ended
from sql.sqlite.failure import refused
from worker.logs import configure, mask

#: Where each command is, in the order of `--help`. Only the module of the command at hand is loaded: all of
#: them together take most of a second.
COMMANDS = {
    "demo": "demo",
    "init": "plan",
    "check": "plan",
    "plan": "plan",
    "run": "migration",
    "confirm": "migration",
    "status": "status",
    "pause": "steering",
    "resume": "steering",
    "cancel": "steering",
    "tune": "steering",
    "verify": "verify",
    "report": "report",
    "rollback": "migration",
    "quarantine": "status",
    "retry": "migration",
    "events": "status",
    "backup": "backup",
    "restore": "backup",
    "rehearse": "backup",
    "worker": "services",
    "tenants": "tenants",
    "roles": "roles",
    "notify": "notify",
    "exporter": "services",
    "sample": "sample",
}

#: A terminal has no more columns or lines than so many digits say.
_DIGITS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, `sys.argv`'s if none is given; returns the exit status of `sql.errors`.

    Whatever goes wrong is one line on standard error. `TENANTRY_DEBUG=1` shows where something unexpected
    came from.
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    # A supervisor stops with SIGTERM, a terminal that closes with SIGHUP: both end as Ctrl-C does, in order.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    forgive(sys.stdout, sys.stderr)
    _bound_terminal()
    configure()
    try:
        status = _application(given)(args=given, prog_name="tenantry", standalone_mode=False)
    except EmbeddedServerError as error:
        return _failed(str(error), error.exit_status)  # the end of a log has lines of its own
    except TenantryError as error:
        return _failed(_one_line(str(error)), error.exit_status)
    except typer.TyperException as error:
        return _failed(
            f"{_one_line(error.format_message()).rstrip('.')}; see `tenantry --help`", error.exit_code
        )
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not find out once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("TENANTRY_DEBUG") == "1":
            raise
        return _failed(_one_line(_unexpected(given[0], error)), 1)
    if status == 130:
        return _failed("interrupted; what is done so far is on record", 130)
    return status if isinstance(status, int) else 0


def _bound_terminal() -> None:
    """Forget a size that no terminal has: rich would draw lines of any length that it is told."""
    for size in ("COLUMNS", "LINES"):
        if len(os.environ.get(size, "")) > _DIGITS:
            del os.environ[size]


def _unexpected(command: str, error: Exception) -> str:
    if isinstance(error, psycopg.Error):
        return str(ended(command, error))
    if isinstance(error, sqlite3.Error):
        return str(refused(command, error))
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first} (TENANTRY_DEBUG=1 shows where)"


def _one_line(message: str) -> str:
    """A message as a line, whatever a name in it holds."""
    return message.replace("\n", "\\n")


def _failed(message: str, status: int) -> int:
    sys.stderr.write(f"tenantry: {printable(mask(message))}\n")
    return status


def _application(given: Sequence[str]) -> typer.Typer:
    application = typer.Typer(
        help="Makes a live single-tenant database multi-tenant, online, with a way back from every step.",
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    application.callback()(_options)
    asked = given[0]
    needed = [] if asked == "--version" else [asked] if asked in COMMANDS else list(COMMANDS)
    for name in needed:
        module = importlib.import_module(f"control.cli.{COMMANDS[name]}")
        command = getattr(module, name)
        if isinstance(command, typer.Typer):
            application.add_typer(command, name=name)
        else:
            application.command(name)(command)
    return application


def _say_version(asked: bool) -> None:  # noqa: FBT001  # typer's signature of a callback
    if asked:
        sys.stdout.write(f"tenantry {version('tenantry')}\n")
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Say the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    pass
