"""What the connections of the demo's application were promised, all together."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from control.demo.entries import DeleteEntry, EndEntry, EntityEntry, Entry, RelationEntry, SharedEntry


@dataclass(slots=True)
class Promised:
    """What must be there in the end, what must not, and how many writes were acknowledged."""

    entities: dict[str, EntityEntry] = field(default_factory=dict)
    relations: dict[str, RelationEntry] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    gone_unknown: bool = False
    shared: list[SharedEntry] = field(default_factory=list)
    acknowledged: int = 0
    unended: int = 0

    def rows(self) -> Iterator[tuple[str, Iterable[tuple[object, ...]]]]:
        """The rows of each table of `journal.sql`, by its name without `journal_`."""
        yield (
            "entities",
            ((each.id, each.org, json.dumps(each.properties)) for each in self.entities.values()),
        )
        yield (
            "relations",
            (
                (each.id, each.org, each.source, each.target, json.dumps(each.properties), each.weight)
                for each in self.relations.values()
            ),
        )
        yield "deleted", ((key,) for key in self.deleted)
        yield "gone", ((key,) for key in self.gone)
        yield "shared", ((each.id, each.org, json.dumps(each.properties)) for each in self.shared)


def promised_by(journals: list[list[Entry]]) -> Promised:
    """Sum up the journals, an item for each connection's."""
    promised = Promised()
    for entries in journals:
        shared: dict[str, list[SharedEntry]] = {}
        for entry in entries:
            match entry:
                case EntityEntry():
                    promised.entities[entry.id] = entry
                case RelationEntry():
                    promised.relations[entry.id] = entry
                case DeleteEntry():
                    promised.entities.pop(entry.id, None)
                    promised.deleted.add(entry.id)
                    promised.gone.update(entry.relations or ())
                    promised.gone_unknown |= entry.relations is None
                case SharedEntry(sure=True):
                    # The last write on it is the last acknowledged one of *its* connection: so of each
                    # connection only the last can stand in the end, and those whose answer was lost.
                    shared[entry.id] = [entry]
                case SharedEntry():
                    shared.setdefault(entry.id, []).append(entry)
                case EndEntry():
                    promised.acknowledged -= 1
            promised.acknowledged += 1
        promised.unended += not entries or not isinstance(entries[-1], EndEntry)
        promised.shared += [entry for candidates in shared.values() for entry in candidates]
    return promised
