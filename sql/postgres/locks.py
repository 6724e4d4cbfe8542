"""The statements of `locks.sql`, which `control.locks` sends, and who stands in the way."""

from dataclasses import dataclass
from pathlib import Path

from sql.named import load

STATEMENTS = load(Path(__file__).parent, "locks")


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session in the way.

    `age` is its transaction's, in seconds; `query` is its last, 80 characters at most; `pid` is None for a
    prepared transaction. Of another role's session only its process and its user are told to one who may not
    read all statistics.
    """

    pid: int | None
    user: str | None
    application: str | None
    age: float | None
    state: str | None
    query: str | None

    def __str__(self) -> str:
        """One line for the operator."""
        if self.pid is None:
            return "a prepared transaction (see pg_prepared_xacts)"
        since = f" for {self.age:.1f} s" if self.age is not None else ""
        who = f"{self.user}, {self.application or 'no application name'}"
        return f"pid {self.pid} ({who}, {self.state or 'state hidden'}{since}: {self.query})"
