"""Whether the plan's webhook can be used, and what others could read of it."""

from collections.abc import Iterator

from control.notify.webhook import webhook_of
from control.plan.model import Plan
from control.preflight.finding import Finding
from sql.errors import GivenWrongError


def look(plan: Plan) -> Iterator[Finding]:
    """What there is to say of it; nothing is sent."""
    try:
        hook = webhook_of(plan)
    except GivenWrongError as error:
        yield Finding("stop", "webhook", str(error), "see [notify] in the plan")
        return
    if hook is None:
        return
    if hook.is_readable:
        fact = f"{hook.where} is no https: its address and every message can be read on the way"
        yield Finding("warn", "webhook", fact, "take an https:// address")
        return
    signed = "signed" if hook.secret is not None else "not signed"
    yield Finding(
        "pass", "webhook", f"{hook.form}, {signed}, to {hook.where}; `tenantry notify --test` tries it"
    )
