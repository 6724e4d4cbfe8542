"""An operator whose plan has a webhook."""

import json
from datetime import UTC, datetime, timedelta

from tests.integration.operating import Operator
from tests.integration.receiving import Receiver

SECRET = "whsec_cGxhbnRlZC1zZWNyZXQtb2YtdGhlLXRlc3Q="
#: What a run as far as the first gate announces.
STAGES = ("preflight", "backup", "columns", "backfill", "indexes")
TO_THE_GATE = [*(f"stage {name}" for name in STAGES), "gate application"]


def told(operator: Operator, receiver: Receiver, more: str = "") -> None:
    """Give the plan a webhook."""
    text = operator.plan.read_text()
    table = f'[notify]\nurl = "{receiver.url}"\nsecret = "{SECRET}"\n{more}\n\n[[tables]]'
    operator.plan.write_text(text.replace("[[tables]]", table, 1))


def run(operator: Operator, *arguments: str, status: int = 0) -> str:
    """Run, to an end of that status; what it said beside its answer."""
    ended = operator.tenantry("run", *arguments)
    assert ended.returncode == status, ended.stderr
    return ended.stderr


def never() -> str:
    """Hours of the plan in which it is not now."""
    return f"{datetime.now(UTC) + timedelta(days=3):%a} 03:00-04:00 UTC"


def deliveries(operator: Operator) -> list[tuple[str, str | None]]:
    """What is for the webhook, and how far it got."""
    found = json.loads(operator.done("events", "--json"))
    return [(event["kind"], event["delivery"]) for event in found if "delivery" in event]
