"""`report`: what happened, for a terminal, a change ticket or support."""

import os
import re
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from control.cli.options import DEFAULT_FILE, AsJson, File, connect_to, console, say, say_json
from control.plan.reading import read_plan
from control.report import account as accounts
from control.report import bundle as bundles
from control.report import page
from control.report.account import Account
from control.watch.words import counted, duration
from sql.errors import GivenWrongError


def report(
    into: Annotated[
        Path | None,
        typer.Argument(help="Where --html or --bundle writes; NAME-report in this folder.", metavar="[FILE]"),
    ] = None,
    *,
    file: File = DEFAULT_FILE,
    html: Annotated[bool, typer.Option("--html", help="Write one HTML file, for a change ticket.")] = False,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="Write a .tar.gz with what support needs, without passwords.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what was migrated, how long it took, what held it, and what was verified."""
    if html + bundle + as_json > 1:
        raise GivenWrongError("one of --html, --bundle and --json at a time")
    if into is not None and not (html or bundle):
        raise GivenWrongError(f"what is to be written into {into}? Say --html or --bundle")
    plan = read_plan(file)
    text = file.read_text(encoding="utf-8-sig")
    with connect_to(plan, "report") as connection:
        account = accounts.read(plan, text, connection)
    if html:
        path = _named(account, into, ".html", file)
        _write(path, page.html(account).encode("utf-8", "backslashreplace"))
        say(f"{path}: {page.standing(account)}")
    elif bundle:
        path = _named(account, into, ".tar.gz", file)
        _write(path, bundles.packed(account, path.name.partition(".")[0] or "report"))
        say(f"{path}: {', '.join(bundles.files(account))}; passwords are masked, look it over all the same")
    elif as_json:
        say_json(account.model_dump(mode="json"))
    else:
        _show(account)


def _named(account: Account, into: Path | None, ending: str, plan: Path) -> Path:
    name = re.sub(r"[^\w.-]+", "_", account.status.migration)
    path = into or Path(f"{name}-report{ending}")
    try:
        is_plan = path.exists() and path.samefile(plan)
    except OSError as error:
        raise GivenWrongError(f"{path}: can't be written: {error.strerror}") from None
    if is_plan:
        raise GivenWrongError(f"{path} is the plan; name another file")
    return path


def _write(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read, whatever was there; all of it, or nothing of it."""
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a pipe, or a folder, which says so
            return
        number, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            Path(unfinished).replace(path)
        finally:
            Path(unfinished).unlink(missing_ok=True)
    except OSError as error:
        raise GivenWrongError(f"{path}: can't be written: {error.strerror}") from None


def _show(account: Account) -> None:
    shown = console()
    shown.print(Text(f"{account.status.migration}: ", "bold") + Text(page.standing(account)), soft_wrap=True)
    for stage in account.stages:
        took = page.took(stage)
        detail = f"  {stage.detail}" if stage.detail else ""
        shown.print(Text(f"  {stage.name:<12}{stage.state:<9}{took:>8}{detail}"), soft_wrap=True)
    for figure in page.figures(account):
        told = f"  ({figure.told})" if figure.told else ""
        shown.print(Text(f"{figure.name}: {figure.value}") + Text(told, "dim"), soft_wrap=True)
    for reason in page.reasons(account):
        times = counted(reason.times, "time")
        shown.print(
            Text(f"held by {reason.reason}: {times}, {duration(reason.seconds)} in all"), soft_wrap=True
        )
    for check in account.checks:
        if check.ok is False:
            shown.print(Text(f"✗ {check.name}: {check.evidence}", "bold red"), soft_wrap=True)
