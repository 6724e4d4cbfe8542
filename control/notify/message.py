"""What a webhook is sent: the JSON of `Message`, or the same in Slack's form."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from control.status import Status
from worker.ledger import Migration
from worker.logs import mask
from worker.outbox import Due

#: Characters of a message that are sent: Slack takes 3,000 in a section.
LONGEST = 2_000

#: What to do next, where the announcement doesn't say so itself.
_NEXT = {
    "held": "`tenantry status` shows what holds it; `tenantry tune` changes a limit",
    "quarantine": "mend the cause, then `tenantry retry` and `tenantry run`",
    "failed": "mend the cause, then `tenantry run` goes on from there",
    "finished": "`tenantry verify` may be run again at any time",
}
_MARKS = {
    "stage": "✓",
    "finished": "✓",
    "gate": "‖",
    "held": "‖",
    "quarantine": "!",
    "failed": "✗",
    "rolled back": "↩",
}


class Standing(BaseModel):
    """How the migration stands when the message is sent; stages by name, rows as they are estimated."""

    model_config = ConfigDict(frozen=True)

    state: str
    stages: dict[str, str]
    rows_total: int
    rows_remaining: int
    quarantine: int


class Message(BaseModel):
    """A message, as it is sent. `version` grows when a field changes its meaning or goes, not when one comes.

    `id` is the same each time that it is sent. `at` is when it happened. `about` has the facts of some kinds:
    `facts` and `opens` of a gate, `rows` of a quarantine, `reason` of a hold.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    id: str
    migration: str
    kind: str
    at: datetime
    actor: str
    stage: str | None = None
    message: str
    next: str | None = None
    about: dict[str, Any] | None = None
    status: Standing | None = None
    """None in a test message."""


def message_of(due: Due, migration: Migration, status: Status) -> Message:
    """The message of an announcement."""
    opens = (due.about or {}).get("opens")
    return Message(
        id=id_of(due, migration),
        migration=migration.name,
        kind=due.kind,
        at=due.at,
        actor=due.actor,
        stage=due.stage,
        message=_short(due.message),
        next=opens or _NEXT.get(due.kind),
        about=None if due.about is None else {name: _masked(fact) for name, fact in due.about.items()},
        status=Standing(
            state=status.state,
            stages={stage.name: stage.state for stage in status.stages},
            rows_total=sum(table.rows_total or 0 for table in status.tables),
            rows_remaining=sum(table.rows_remaining or 0 for table in status.tables),
            quarantine=status.quarantine,
        ),
    )


def id_of(due: Due, migration: Migration) -> str:
    """What tells an announcement from every other.

    Events are counted from 1 again in a ledger that was dropped and made anew: so its beginning is in it.
    """
    begun = round(migration.started_at.timestamp() * 1_000_000)
    return f"{migration.name.replace('.', '_')}-{begun}-{due.id}"


def trial(migration: str, actor: str) -> Message:
    """A message that says that the webhook works."""
    now = datetime.now(UTC)
    return Message(
        id=f"test-{round(now.timestamp() * 1_000_000)}",
        migration=migration,
        kind="test",
        at=now,
        actor=actor,
        message="a test by `tenantry notify --test`: messages of this migration arrive here",
    )


def slack(message: Message) -> dict[str, Any]:
    """The message as Slack's incoming webhooks take it; `text` is what a notification on a phone shows."""
    title = f"{_MARKS.get(message.kind, '·')} {message.migration}: {message.kind}"
    lines = [f"*{_escaped(title)}*", _escaped(message.message)]
    # A gate's message ends with what opens it.
    if message.next is not None and not message.message.endswith(message.next):
        lines.append(f"Next: {_escaped(message.next)}")
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines)}},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": _escaped(_foot(message))}]},
    ]
    return {"text": _escaped(f"{title}: {message.message}"), "blocks": blocks}


def _foot(message: Message) -> str:
    told = [f"{message.at:%Y-%m-%d %H:%M:%S %Z}", message.actor]
    if message.status is not None:
        done = sum(state == "done" for state in message.status.stages.values())
        told.append(f"{done} of {len(message.status.stages)} stages done")
        if message.status.rows_remaining:
            told.append(f"{message.status.rows_remaining:,} rows remaining")
    return " · ".join(told)


def _escaped(text: str) -> str:
    """As Slack wants it: the three characters that begin its own markup, mentions of people among it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _short(text: str) -> str:
    text = mask(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _masked(fact: Any) -> Any:
    if isinstance(fact, str):
        return _short(fact)
    return [_masked(one) for one in fact] if isinstance(fact, list) else fact
