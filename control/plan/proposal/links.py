"""What could tell a table's rows their tenant: what they say themselves, and what they point to."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from control.plan.proposal import directories
from control.plan.proposal.directories import TENANT_NAMES, Directory
from control.plan.proposal.reading import NotReadError, Reader
from control.plan.proposal.schema import ForeignKey, Table
from sql.tenant_source import Expression, Lookup, Parent

#: Names that say nothing of what they name: every table has such a column.
_ANYBODYS = frozenset(
    {"id", "uuid", "key", "code", "name", "slug", "type", "kind", "status", "position", "version"}
)


@dataclass(frozen=True, slots=True)
class Link:
    """One source that a table could have, with nothing asked after it.

    `every` where each row has it, None where no row was there to tell. `other` is the one that would do as
    well, for the operator to choose; `notes` say why this one.
    """

    source: Expression | Lookup | Parent
    every: bool | None
    preference: tuple[bool, bool, int] = (False, False, 0)
    other: Expression | Lookup | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Links:
    """Finds the links of every table; `told` is what the operator should know of a table's."""

    reader: Reader
    chosen: Sequence[str]
    lists: dict[str, Directory]
    told: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def own(self, name: str) -> list[Link]:
        """What the rows of a table say of themselves: at most one, the likeliest."""
        table = self.reader.schema[name]
        try:
            by_name = self._in_columns(name, table)
        except NotReadError as error:
            self.told[name].append(f"its rows were not asked whose they are: {error.reason}")
            by_name = []
        if by_name:
            return by_name
        pointing = list(self._onto_lists(table))
        if pointing:
            return pointing[:1]
        return self._in_documents(name, table)

    def parents(self, name: str) -> list[Link]:
        """Its foreign keys onto other tables of the plan, the best first, and those onto itself last."""
        table = self.reader.schema[name]
        links = [
            Link(Parent(parent=key.target, on=key.pairs), not _nullable(table, key), _preference(table, key))
            for key in _written(table)
            if key.target is not None and key.target in self.chosen and key.target != name
        ]
        return sorted(links, key=lambda link: link.preference)

    def above(self, name: str) -> Parent | None:
        """The foreign key by which a table is a tree."""
        for key in sorted(_written(self.reader.schema[name]), key=lambda key: key.name):
            if key.target == name:
                return Parent(parent=name, on=key.pairs)
        return None

    def by_name_alone(self, name: str) -> Iterator[Link]:
        """Columns without a foreign key that are called as another table or its key, and hold its values."""
        table = self.reader.schema[name]
        for at, column in enumerate(table.columns):
            if column.name in _ANYBODYS or column.generated:
                continue
            if any(column.name in key.columns for key in table.foreign_keys):
                continue
            alike = self._called_alike(name, column.name, column.type)
            for other, key in alike or self._called_as_table(name, column.name, column.type):
                try:
                    values, found = self.reader.found_there(name, column.name, other, key)
                except NotReadError:
                    continue
                if values and found * 2 < values:
                    continue
                note = f"nothing but its name says that {column.name} is of {other}"
                on = {column.name: key}
                if other in self.lists:
                    link = self._of_list(self.lists[other], on, every=column.not_null)
                    yield Link(link.source, link.every, (True, True, at), link.other, (*link.notes, note))
                else:
                    source = Parent(parent=other, on=on)
                    yield Link(source, column.not_null, (not column.not_null, True, at), notes=(note,))

    def _in_columns(self, name: str, table: Table) -> list[Link]:
        for column in directories.names(table):
            key = table.key_onto(column)
            target = key.target if key is not None else None
            if target in self.chosen and target != name:
                continue  # a parent's key, whatever it is called
            found = table.column(column)
            if found is not None and found.generated:
                told = "is generated, and has no value yet when the write guard asks: say what it is made of"
                self.told[name].append(f"{column} {told}")
                continue
            known = self.reader.known_in_column(name, column)
            if known.rows and not known.known:
                self.told[name].append(f"{known.expression} is there, and says nothing in any row")
                continue
            every = None if not known.rows else known.known == known.rows
            every = True if found is not None and found.not_null and every is not False else every
            of = self._list_of(name, column, target)
            if of is not None:
                return [self._of_list(of, {column: of.key}, every=every, said=known.expression)]
            return [Link(Expression(expression=known.expression), every)]
        return []

    def _list_of(self, name: str, column: str, target: str | None) -> Directory | None:
        """The list that a column names tenants of: by its foreign key, or by another table's of that name."""
        if target is not None:
            return self.lists.get(target)
        found = self.reader.schema[name].column(column)
        for other, key in self._called_alike(name, column, found.type if found is not None else ""):
            if other in self.lists and self.lists[other].key == key:
                return self.lists[other]
        return None

    def _in_documents(self, name: str, table: Table) -> list[Link]:
        for document in table.columns:
            if not document.is_document or document.generated:
                continue
            try:
                known = self.reader.known_in_document(name, document.name, TENANT_NAMES)
            except NotReadError as error:
                self.told[name].append(f"{document.name} was not asked whose its rows are: {error.reason}")
                continue
            if known is not None:
                return [Link(Expression(expression=known.expression), known.known == known.rows)]
        return []

    def _onto_lists(self, table: Table) -> Iterator[Link]:
        """Foreign keys of other names onto a list of tenants, or onto a table left out that names one."""
        for key in sorted(_written(table), key=lambda key: _preference(table, key)):
            target = key.target
            if target is None or target in self.chosen:
                continue
            every = not _nullable(table, key)
            on = key.pairs
            of = self.lists.get(target)
            if of is not None:
                yield self._of_list(of, on, every=every)
            elif there := directories.names(self.reader.schema[target]):
                yield Link(Lookup(lookup=target, on=on, column=there[0]), every)

    def _of_list(self, of: Directory, on: dict[str, str], *, every: bool | None, said: str = "") -> Link:
        """The tenant that a row names of a list: by what it holds itself, or by what that is called there."""
        (ours, theirs), *more = on.items()
        itself = None
        if theirs == of.key and not more:
            itself = Expression(expression=said or self.reader.quoted(ours))
        if itself is not None and of.called == of.key:
            if of.offered is None:
                return Link(itself, every)
            other = Lookup(lookup=of.table, on=on, column=of.offered)
            why = (
                f"{ours} itself is proposed: it is in the row, and doesn't change. {of.table}.{of.offered} "
                "reads better, but each row is looked up, and one that is renamed takes all its rows along"
            )
            return Link(itself, every, other=other, notes=(why,))
        return Link(
            Lookup(lookup=of.table, on=on, column=of.called),
            every,
            other=itself,
            notes=(of.why,) if of.why else (),
        )

    def _called_alike(self, name: str, column: str, column_type: str) -> list[tuple[str, str]]:
        """Keys of other tables that a column of that name and type may name; none if of several."""
        found = dict[tuple[str, str], None]()
        for other, table in self.reader.schema.items():
            there = table.column(column)
            if there is None or there.type != column_type or other == name:
                continue
            key = table.key_onto(column)
            target = key.target if key is not None else None
            if key is not None and target is not None and target not in {name, other}:
                found[target, key.target_columns[0]] = None
            elif column in table.alone:
                found[other, column] = None
        usable = [one for one in found if one[0] in self.chosen or one[0] in self.lists]
        return usable if len(usable) == 1 else []

    def _called_as_table(self, name: str, column: str, column_type: str) -> list[tuple[str, str]]:
        """The table that a column is called after: `category_id` of `categories`; none if of several."""
        if not column.endswith("_id"):
            return []
        of = column.removesuffix("_id")
        wanted = {of, f"{of}s", f"{of}es", f"{of.removesuffix('y')}ies"}
        found = [
            (other, "id")
            for other in (*self.chosen, *self.lists)
            if other != name and self.reader.schema[other].bare in wanted and self._has_id(other, column_type)
        ]
        return found if len(found) == 1 else []

    def _has_id(self, name: str, column_type: str) -> bool:
        there = self.reader.schema[name].column("id")
        return there is not None and there.type == column_type and "id" in self.reader.schema[name].alone


def _written(table: Table) -> list[ForeignKey]:
    """The foreign keys of columns that are written: a generated one has no value when the guard asks."""
    generated = {column.name for column in table.columns if column.generated}
    return [key for key in table.foreign_keys if generated.isdisjoint(key.columns)]


def _nullable(table: Table, key: ForeignKey) -> bool:
    return not all(column.not_null for column in table.columns if column.name in key.columns)


def _preference(table: Table, key: ForeignKey) -> tuple[bool, bool, int]:
    """Foreign keys that every row has first, then those that own it, then as their columns stand."""
    places = {column.name: at for at, column in enumerate(table.columns)}
    return _nullable(table, key), not key.owns, max(places[name] for name in key.columns)
