"""What a job is, as the statements need it; kept in the ledger, so that a worker never reads a plan."""

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from sql.tenant_source import Source

#: A key as the ledger keeps it: one text per column, as the server writes and reads the type.
Key = list[str]

#: Ranges of the key, each visited once or once per stripe; or ranges of the heap's pages, once per stripe.
Paging = Literal["contiguous", "striped", "pages"]

#: What an assignment does with a row, where a key keeps it from moving at once: see `Moving`.
Step = Literal["move", "copy", "remove", "withdraw"]

#: Rows get their tenant, lose it again, go to another, or are copied into their tenant's schema.
Kind = Literal["fill", "reset", "assign", "copy"]

#: What a range's bounds are: keys, or places in the heap (tid).
By = Literal["key", "page"]


class KeyColumn(BaseModel):
    """A column that ranges are cut by; `type` as `format_type` writes it.

    `collation` is the index's own, quoted and qualified, where it differs from the column's: without naming
    it a row comparison would not take the index.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    collation: str | None = None


#: Where a row lies. It changes with every update: what is ordered by it is swept until nothing is left.
PLACE = KeyColumn(name="ctid", type="tid")


class Link(BaseModel):
    """Rows of another table that name those of this one, or are named by them: (ours, theirs) columns.

    `identity` is what tells a row of the other table, as notes keep it.
    """

    model_config = ConfigDict(frozen=True)

    named: str
    """What the plan calls the other table."""
    schema_: str
    table: str
    pairs: tuple[tuple[str, str], ...]
    identity: tuple[KeyColumn, ...] = ()


class Moving(BaseModel):
    """Which rows of a table an assignment takes from one tenant to another, and how.

    `move` sets the tenant where a row stands. Where a key with the tenant in it is pointed to, a row can't
    leave before those that point to it, nor they before it: so it is copied (`copy`), they move to the copy,
    and it is removed (`remove`) once nothing points to it any more. The copy of one that the application
    deleted meanwhile is taken back (`withdraw`).
    """

    model_config = ConfigDict(frozen=True)

    assignment: int
    step: Step
    to: str
    from_: str
    where: str | None = None
    """The operator's SQL over the row's columns, for a table that was asked itself."""
    noted_by: int | None = None
    """Instead: the rows that an earlier assignment noted, which this one takes back."""
    above: tuple[Link, ...] = ()
    """Rows that one of these takes along: it names a row that this assignment has noted."""
    first: tuple[Link, ...] = ()
    """Rows of the same table that are copied before one that names them: no copy can point to nothing."""
    below: tuple[Link, ...] = ()
    """Who may still point to a row: it isn't removed before they are gone."""
    columns: tuple[str, ...] = ()
    """What a copy takes from its row, beside the tenant, and again if that changes."""
    fixed: tuple[str, ...] = ()
    """What it takes when it is made, for nobody can change it: an identity that is always generated."""


class Copying(BaseModel):
    """Which tenants' rows are copied into their schemas, by a function of ours (schema and name).

    A batch takes locks on the tables of each tenant that has a row in its range, so that they are few.
    """

    model_config = ConfigDict(frozen=True)

    function: tuple[str, str]
    tenants: tuple[str, ...]


class JobSpec(BaseModel):
    """One table's work: where, by which ranges, what is still to be filled, and from what."""

    model_config = ConfigDict(frozen=True)

    schema_: str
    table: str
    key: tuple[KeyColumn, ...]
    """Empty for a table without a usable one."""
    paging: Paging
    stripes: int
    """Visits to each range, a power of two; 1 for contiguous ranges."""
    rows_per_page: float
    most_rows: int
    """The largest batch: beyond it a group of ranges would not stay in cache over its visits."""
    tenant_column: str
    sentinel: str | None
    source: Source
    named: str
    """What the plan calls the table: a source that has this as its parent is a tree."""
    pattern: str
    """What a tenant looks like, as a regular expression of the server's; any other text is none."""
    tenant_in_unique_index: bool
    """Then a change of tenant changes a key, and skipping locked rows needs FOR UPDATE."""
    hold_triggers: bool
    """Whether the table's own triggers are held off (`session_replication_role`)."""
    reset: bool = False
    """The way back: every row that has a tenant gets the sentinel again."""
    moving: Moving | None = None
    """Rows go from one tenant to another."""
    copying: Copying | None = None
    """Rows are copied, and stay as they are."""

    @property
    def kind(self) -> Kind:
        """What the ledger calls such a job."""
        if self.moving is not None:
            return "assign"
        if self.copying is not None:
            return "copy"
        return "reset" if self.reset else "fill"

    @property
    def identity(self) -> tuple[KeyColumn, ...]:
        """What tells a row: its key, or else its place."""
        return self.key or (PLACE,)

    @property
    def own_key(self) -> tuple[KeyColumn, ...]:
        """What tells a row whatever its tenant: the columns of its key without the tenant's."""
        return tuple(column for column in self.key if column.name != self.tenant_column)

    @property
    def ranges(self) -> str:
        """How the table is cut, in words."""
        if self.paging == "contiguous":
            return f"ranges of ({', '.join(column.name for column in self.key)}), one after the other"
        of = "its pages" if self.paging == "pages" else f"({', '.join(column.name for column in self.key)})"
        return f"ranges of {of}, each visited {self.stripes} times"

    def columns(self, by: By) -> tuple[KeyColumn, ...]:
        """What the bounds of a range are made of."""
        return self.key if by == "key" else (PLACE,)


class Shape(NamedTuple):
    """What of a range decides the text of its statement."""

    by: By
    lower: bool
    striped: bool


class Range(BaseModel):
    """Rows above `lower` (None: from the first) up to and with `upper`; of one stripe, or all of them."""

    model_config = ConfigDict(frozen=True)

    by: By
    lower: Key | None
    upper: Key
    stripe: int | None

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return Shape(self.by, self.lower is not None, self.stripe is not None)
