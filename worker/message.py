"""What a message may say: "look at batches N to M", and nothing else.

Whoever reaches the queue server can put anything into the queue. The ledger decides what is done, so that the
worst a forged range can do is a look in vain; every other message is refused before any of it is used.
Dramatiq's own reading is not asked: a message that it can't decode stops its consumer for a second and is
never given back, and options (delays, callbacks, retries) it obeys whoever wrote them.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

QUEUE = "batches"
ACTOR = "work"

#: Bytes of a message at most; ours have 260.
LONGEST = 1_000
#: Batches that a message points at, at most: more are never ahead of the workers (`control.stages.backfill`).
SPAN = 4_096

_Number = Annotated[int, Field(ge=1, lt=2**63)]


class RefusedMessageError(Exception):
    """A message that is no range of batches; `reason` is a word of ours: a forged text belongs in no log."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Range(BaseModel):
    """The batches that a message points at, both ends among them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    first: _Number
    last: _Number

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.first <= self.last < self.first + SPAN:
            raise ValueError("not a range")
        return self


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    redis_message_id: str


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    queue_name: Literal["batches"]
    actor_name: Literal["work"]
    args: tuple[()]
    kwargs: Range
    options: _Options
    message_id: str
    message_timestamp: int


def read(data: bytes, taken: frozenset[str]) -> tuple[str, Range]:
    """Read a message; its name in the queue, one of `taken`, and the batches that it points at.

    Raises:
        RefusedMessageError: it says anything else, or in another form.
    """
    if len(data) > LONGEST:
        raise RefusedMessageError("too_long")
    try:
        told = _Message.model_validate_json(data)
    except ValidationError as error:
        raise RefusedMessageError(error.errors(include_url=False, include_input=False)[0]["type"]) from None
    if told.options.redis_message_id not in taken:
        raise RefusedMessageError("another_name")
    return told.options.redis_message_id, told.kwargs
