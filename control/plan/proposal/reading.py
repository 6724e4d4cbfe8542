"""What a proposal asks of the rows of a database that has no plan yet.

Never more than can be done in passing: a small table is read whole, of a large one a sample is. Each question
is given up after a time limit, so that a slow one costs `init` an answer, and nobody else anything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from control.plan.model import Plan
from control.plan.proposal.schema import Schema
from sql.asked import Known, Untold
from sql.tenant_source import Lookup, Parent


class NotReadError(Exception):
    """What was asked could not be answered; `reason` says why, for a note."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows by the tenants that they would have: `examples` name some that have none."""

    total: int
    unfilled: int
    examples: Sequence[str]
    malformed: int
    malformed_tenants: Sequence[str]


@dataclass(frozen=True, slots=True)
class Edge:
    """A foreign key inside a plan by which a row could name one of another tenant."""

    table: str
    parent: str
    called: str
    on: dict[str, str] = field(hash=False)


class Reader(Protocol):
    """Asks a database about its schema and its rows, within the limits. Tables are named as in a plan.

    What asks rows raises NotReadError where they can't be asked.
    """

    @property
    def database(self) -> str:
        """What it is, without a password."""

    @property
    def schema(self) -> Schema:
        """Every table that a plan could be about."""

    @property
    def unfit(self) -> dict[str, str]:
        """Tables that it could not, each with the reason."""

    @property
    def taken(self) -> Iterable[str]:
        """Names that no index can get."""

    @property
    def where(self) -> str:
        """Where its tables are looked for."""

    @property
    def sentinel(self) -> str:
        """What a plan says that a row without a tenant holds."""

    @property
    def has_row_security(self) -> bool:
        """Whether tables can have policies."""

    def is_small(self, table: str) -> bool:
        """Whether a table is read whole."""

    def quoted(self, name: str) -> str:
        """A column's name as SQL."""

    def known_in_column(self, table: str, column: str) -> Known:
        """How many rows have a value in a column."""

    def known_in_document(self, table: str, column: str, keys: Sequence[str]) -> Known | None:
        """The first of the keys that any row has in a column that holds JSON."""

    def called(self, table: str, column: str, pattern: str) -> tuple[bool, bool]:
        """Whether a column holds a proper tenant in every row, and another one in each."""

    def found_there(self, table: str, column: str, other: str, key: str) -> tuple[int, int]:
        """Some values of a column, and those of them that a key of another table has: how many."""

    def untold(self, table: str, source: Lookup | Parent) -> Untold:
        """Rows that a source tells nothing of."""

    def counted(self, plan: Plan, table: str) -> Counted:
        """Rows of a table by their tenants."""

    def edges(self, plan: Plan) -> Iterable[Edge]:
        """What could lead to other tenants' rows."""

    def crossing(self, plan: Plan, edge: Edge) -> tuple[int, str]:
        """How many rows do by this edge, and one of them."""
