"""What a SQLite file's schema says, as values; `sql.sqlite.catalog` reads it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from sql.sqlite.names import folded

#: What every rowid table calls its rowid, unless a column of it has that name.
_ROWIDS = ("rowid", "_rowid_", "oid")


def affinity(declared: str) -> str:
    """What a column declared so makes of a value (sqlite.org/datatype3.html, section 3.1)."""
    of = declared.upper()
    if "INT" in of:
        return "INTEGER"
    if any(part in of for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if not of or of == "ANY" or "BLOB" in of:
        return "BLOB"
    return "REAL" if any(part in of for part in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class Column(_Fact):
    """A column as declared; `key` is its place in the primary key from 1, 0 for none."""

    name: str
    type: str
    not_null: bool
    default: str | None
    """As SQL."""
    key: int
    generated: bool


class Index(_Fact):
    """An index; `origin` is `c` (CREATE INDEX), `u` (a UNIQUE constraint) or `pk`, the latter without SQL."""

    name: str
    unique: bool
    origin: Literal["c", "u", "pk"]
    partial: bool
    columns: tuple[str | None, ...]
    """None is an expression."""
    sql: str | None


class ForeignKey(_Fact):
    """A foreign key; `target_columns` are those of the target's primary key where none were written."""

    target: str
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    on_update: str
    on_delete: str


class Trigger(_Fact):
    """A trigger, of a table or a view."""

    name: str
    table: str
    sql: str


class Table(_Fact):
    """A table: `sql` is the statement that makes it, as SQLite keeps it."""

    name: str
    sql: str
    without_rowid: bool
    strict: bool
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    foreign_keys: tuple[ForeignKey, ...]
    triggers: tuple[Trigger, ...]
    autoincrement: bool

    def column(self, name: str) -> Column | None:
        """A column by its name, however it is spelled."""
        return next((one for one in self.columns if folded(one.name) == folded(name)), None)

    def index(self, name: str) -> Index | None:
        """An index by its name, however it is spelled."""
        return next((one for one in self.indexes if folded(one.name) == folded(name)), None)

    def trigger(self, name: str) -> Trigger | None:
        """A trigger by its name, however it is spelled."""
        return next((one for one in self.triggers if folded(one.name) == folded(name)), None)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns of its primary key, in order; empty where it has none."""
        keyed = sorted((one for one in self.columns if one.key), key=lambda one: one.key)
        return tuple(one.name for one in keyed)

    @property
    def rowid(self) -> str | None:
        """What its rowid can be called by; None where it has none, or columns have all of its names."""
        if self.without_rowid:
            return None
        taken = {folded(one.name) for one in self.columns}
        return next((name for name in _ROWIDS if name not in taken), None)

    @property
    def rowid_alias(self) -> str | None:
        """Its column that is the rowid: an INTEGER PRIMARY KEY, which gives new rows their id."""
        key = [one for one in self.columns if one.key]
        if self.without_rowid or len(key) != 1 or folded(key[0].type) != "integer":
            return None
        # `INTEGER PRIMARY KEY DESC` is an ordinary column, for old files' sake; only then is there an index.
        return None if any(one.origin == "pk" for one in self.indexes) else key[0].name

    @property
    def stored(self) -> tuple[str, ...]:
        """The columns that hold what was written: all but the generated ones."""
        return tuple(one.name for one in self.columns if not one.generated)


class View(_Fact):
    """A view, with its INSTEAD OF triggers."""

    name: str
    sql: str
    triggers: tuple[Trigger, ...]


class Catalog(_Fact):
    """A whole schema: every table, for triggers, views and foreign keys come from anywhere."""

    tables: dict[str, Table]
    """By the name that SQLite keeps."""
    views: dict[str, View]
    others: dict[str, str] = {}
    """Virtual tables and their shadows, by name, with their kind: `virtual` or `shadow`."""

    def find(self, name: str) -> Table | None:
        """A table by its name, however it is spelled."""
        return next((one for one in self.tables.values() if folded(one.name) == folded(name)), None)

    def table(self, name: str) -> Table:
        """A table by its name, however it is spelled.

        Raises:
            KeyError: there is no such table.
        """
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def pointing_to(self, name: str) -> list[tuple[Table, ForeignKey]]:
        """The foreign keys onto a table, with the tables that have them."""
        return [
            (table, key)
            for table in self.tables.values()
            for key in table.foreign_keys
            if folded(key.target) == folded(name)
        ]
