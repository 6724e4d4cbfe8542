"""One connection of the demo's application, whichever database it works on."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from control.demo.messages import Code
from sql.errors import TenantryError


class SessionError(TenantryError):
    """The database refused an operation or broke it off.

    `in_doubt` where the connection was lost, so that nobody said whether it was done; else it wasn't.
    """

    def __init__(self, sqlstate: str, message: str, *, in_doubt: bool = False) -> None:
        self.sqlstate = sqlstate
        self.message = message
        self.in_doubt = in_doubt
        super().__init__(message)


class Session(Protocol):
    """What a client asks of its connection: an operation of the old or the new code, by its name.

    Parameters are those of the statement; `tenant` is always among them, and a dictionary is JSON.
    Each raises `SessionError`.
    """

    def write(self, code: Code, statement: str, parameters: Mapping[str, Any]) -> int:
        """Write by one statement; how many rows it touched."""

    def read(self, code: Code, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Read by one statement; its rows, properties as dictionaries."""

    def delete_entity(self, code: Code, parameters: Mapping[str, Any]) -> tuple[int, Sequence[str]]:
        """Delete an entity: how many there were, and the ids of the relations that go with it."""

    def cancel(self) -> None:
        """Cancel the statement under way, from another thread."""

    def close(self) -> None:
        """Close the connection."""
