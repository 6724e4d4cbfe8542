"""The plan's webhook: what is told to whom, in which form."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from control.plan.values import Duration, Part, seconds
from sql.postgres.connection import is_elsewhere

#: What is announced; all of it stands in the audit, whether a webhook hears of it or not.
Kind = Literal["stage", "gate", "held", "quarantine", "failed", "finished", "rolled back"]
KINDS: tuple[Kind, ...] = ("stage", "gate", "held", "quarantine", "failed", "finished", "rolled back")
Form = Literal["json", "slack"]

#: How long no batch may go before that is announced, where the plan has nothing to say of a webhook.
HELD_AFTER = "5m"


def wrong_with(url: str) -> str | None:
    """What is wrong with the address of a webhook, without a word of it: its path is often its password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "can't be read"
    if parts.scheme not in {"http", "https"} or not host or any(letter.isspace() for letter in url):
        return "is none"
    return None


def _is_webhook(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if not is_elsewhere(url) and (wrong := wrong_with(url)) is not None:
        raise ValueError(f"the address {wrong}; write https://host/path, or better env:NAME or file:PATH")
    return value


class Notify(Part):
    """A webhook, and what it hears of."""

    url: Annotated[SecretStr, AfterValidator(_is_webhook)]
    form: Form = "json"
    secret: SecretStr | None = None
    """What messages are signed with; without it they are not."""
    on: Annotated[tuple[Kind, ...], Field(min_length=1)] = KINDS
    held_after: Duration = HELD_AFTER

    @property
    def held_after_seconds(self) -> float:
        """How long no batch may go before that is announced."""
        return seconds(self.held_after)
