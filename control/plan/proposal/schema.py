"""What a proposal has to know of a schema, whichever database it is in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `type` is there to be compared with others' of the same database.

    `is_text` where it could hold a tenant's name, `is_document` where it holds, or could hold, JSON.
    """

    name: str
    type: str
    not_null: bool
    is_text: bool
    is_document: bool
    generated: bool = False
    """Whether it has no value yet when the write guard asks."""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key onto `target`, as the plan would call it; None where a plan can't be about it.

    `owns` where the row goes with what it names.
    """

    name: str
    columns: tuple[str, ...]
    target: str | None
    target_columns: tuple[str, ...]
    owns: bool

    @property
    def pairs(self) -> dict[str, str]:
        """Columns of the row, each with that of the other one."""
        return dict(zip(self.columns, self.target_columns, strict=True))


@dataclass(frozen=True, slots=True)
class Table:
    """A table, by the name that a plan gives it, and by its own.

    `alone` are the columns that are unique by themselves. `uniques` are its unique indexes and constraints
    but for the primary key, each with its columns. Unless it `builds`, no index, key or policy is proposed.
    """

    name: str
    bare: str
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]
    alone: tuple[str, ...]
    primary_key: tuple[str, ...] | None
    uniques: tuple[tuple[str, tuple[str, ...]], ...] = ()
    builds: bool = True
    note: str = ""
    """What an operator should know of its kind."""

    def column(self, name: str) -> Column | None:
        """A column by its name."""
        return next((one for one in self.columns if one.name == name), None)

    def key_onto(self, column: str) -> ForeignKey | None:
        """The foreign key that is this column alone."""
        return next((key for key in self.foreign_keys if key.columns == (column,)), None)


#: By the names that a plan gives them.
Schema = dict[str, Table]
