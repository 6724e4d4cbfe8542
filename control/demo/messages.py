"""What the application's process and its parent say to each other, a line of JSON each.

The parent writes `Settings` first, then the commands `old`, `new` and `stop`, a word a line. Settings come by
standard input, not as arguments, because an address may hold a password and arguments are public.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, field_serializer

#: Which code the application runs: before it knew tenants, or after.
Code = Literal["old", "new"]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(_Message):
    """What the application starts with; `rate` is operations per second over all connections.

    `run` names one of several runs over the same graph, at once or one after another. It makes keys of its
    own, deletes no entity of the sample's, which another may own, and keeps no journal.
    """

    url: SecretStr
    folder: Path
    entities: int
    connections: Annotated[int, Field(ge=1)] = 4
    rate: Annotated[float, Field(gt=0)] = 300.0
    seed: int = 1
    code: Code = "old"
    run: str | None = None

    @field_serializer("url", when_used="json")
    def _reveal(self, url: SecretStr) -> str:
        return url.get_secret_value()


class Failure(_Message):
    """An error of one operation as the application saw it; `sqlstate` is 02000 for a row not found."""

    sqlstate: str
    message: str


class Report(_Message):
    """How the application does, twice a second and at the end.

    Latencies are in milliseconds, from an operation's first statement to its last answer; an operation
    still under way counts with its age so far. `worst_ms` is since the start, `interval_worst_ms` since
    the report before, the percentiles of the last five seconds.
    """

    kind: Literal["report"] = "report"
    final: bool = False
    code: Code
    seconds: float
    connections: int
    operations: int
    by_kind: dict[str, int]
    per_second: float
    errors: int
    by_sqlstate: dict[str, int]
    last_error: Failure | None
    two_key_retries: int
    worst_ms: float
    interval_worst_ms: float
    p50_ms: float
    p99_ms: float


class Ready(_Message):
    """Every connection is open and at work."""

    kind: Literal["ready"] = "ready"


class Switched(_Message):
    """Every connection runs this code now; no statement of the other is under way."""

    kind: Literal["switched"] = "switched"
    code: Code


class Failed(_Message):
    """The application could not start."""

    kind: Literal["failed"] = "failed"
    reason: str


Message = Report | Ready | Switched | Failed

MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])
