"""`notify`: what is left in the outbox, and whether the webhook works."""

import time
from typing import Annotated

import typer

from control.cli.options import DEFAULT_FILE, AsJson, File, connect_to, say, say_json
from control.course import actor
from control.notify.message import trial
from control.notify.sender import delivering
from control.notify.webhook import Webhook, webhook_of
from control.plan.model import Plan
from control.plan.reading import read_plan
from control.watch.words import counted
from sql.errors import GivenWrongError
from worker import ledger, outbox
from worker.outbox import Outbox

#: Seconds that are tried at most.
_LONGEST = 15.0


def notify(
    file: File = DEFAULT_FILE,
    *,
    test: Annotated[bool, typer.Option("--test", help="Send one message that says that it works.")] = False,
    as_json: AsJson = False,
) -> int:
    """Send the plan's webhook what it has not been sent yet."""
    plan = read_plan(file)
    hook = webhook_of(plan)
    if hook is None:
        raise GivenWrongError('the plan has no webhook; add [notify] with url = "env:NOTIFY_URL"')
    if test:
        _test(plan, hook, as_json=as_json)
        return 0
    before = _outbox(plan)
    with delivering(plan, grace=_LONGEST):
        pass
    after = _outbox(plan)
    refused = after.refused - before.refused + after.given_up - before.given_up
    sent = max(0, before.due - after.due - refused)  # a run may have written more meanwhile
    if as_json:
        say_json({"to": hook.where, "sent": sent, "refused": refused, "due": after.due, "error": after.error})
    else:
        lost = f", {refused} refused or too old" if refused else ""
        left = f", {after.due} still to be sent ({after.error or 'a run sends them'})" if after.due else ""
        say(f"{hook.where}: {counted(sent, 'message')} sent{lost}{left}")
    return 1 if after.due or refused else 0


def _outbox(plan: Plan) -> Outbox:
    with connect_to(plan, "notify") as connection:
        return outbox.outbox(connection, ledger.read(connection, plan.name).id)


def _test(plan: Plan, hook: Webhook, *, as_json: bool) -> None:
    begun = time.monotonic()
    status = hook.send(trial(plan.name, actor()))
    took = (time.monotonic() - begun) * 1000
    if as_json:
        say_json({"to": hook.where, "status": status, "took_ms": took})
    else:
        say(f"{hook.where} answered {status} in {took:.0f} ms")
