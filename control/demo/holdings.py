"""Which entities one connection of the application owns.

Each connection updates and deletes only entities of its own: of the sample's those whose number leaves its
remainder, and those it inserted. Only it adds relations to them. So what it was promised is what must be
there in the end, in whatever order the connections came.
"""

import math
import random
from dataclasses import dataclass

from control.demo import sample

#: Of the sample's entities so many may be deleted; beyond that there would soon be none to work on.
_DELETED_AT_MOST = 0.25


@dataclass(frozen=True, slots=True)
class Owned:
    """An entity that a connection owns.

    `near` is the number of an entity of the sample with the same owner and organisation; for an entity of
    the sample it is its own.
    """

    id: str
    org: str
    near: int


class Holdings:
    """The entities of one connection.

    Args:
        connection: its number, from 0.
        connections: how many there are; the sample's entities are shared out among them.
        entities: how many entities the sample has.
        choice: where the choices come from.
        deletes: whether entities of the sample may be deleted too.
    """

    def __init__(
        self,
        connection: int,
        *,
        connections: int,
        entities: int,
        choice: random.Random,
        deletes: bool = True,
    ) -> None:
        self._first = connection or connections
        self._step = connections
        self._count = (entities - self._first) // connections + 1
        self._entities = entities
        self._stride = math.lcm(connections, sample.ORGANISATIONS)
        self._choice = choice
        self._deleted_at_most = _DELETED_AT_MOST * self._count if deletes else 0
        self._deleted: set[int] = set()
        self._inserted: list[Owned] = []

    def any(self) -> Owned:
        """Choose one: as often from the sample as from what was inserted."""
        if self._inserted and self._choice.random() < 0.5:
            return self._choice.choice(self._inserted)
        while True:
            number = self._first + self._step * self._choice.randrange(self._count)
            if number not in self._deleted:
                return _of_sample(number)

    def beside(self, entity: Owned) -> Owned | None:
        """Choose another of the same organisation, or none if the choice fell on one that isn't there."""
        base = (entity.near - 1) % self._stride + 1
        places = (self._entities - base) // self._stride + 1
        number = base + self._stride * self._choice.randrange(places)
        other = _of_sample(number)
        return None if number in self._deleted or other.id == entity.id else other

    def may_delete(self, entity: Owned) -> bool:
        """Whether enough of the sample would be left."""
        return not self._is_of_sample(entity) or len(self._deleted) + 1 <= self._deleted_at_most

    def has(self, entity: Owned) -> bool:
        """Whether it is of the sample, or was added."""
        return self._is_of_sample(entity) or entity in self._inserted

    def add(self, entity: Owned) -> None:
        """It was inserted."""
        self._inserted.append(entity)

    def remove(self, entity: Owned) -> None:
        """It was deleted."""
        if self._is_of_sample(entity):
            self._deleted.add(entity.near)
        else:
            self._inserted.remove(entity)

    def _is_of_sample(self, entity: Owned) -> bool:
        return entity.id == sample.entity_key(entity.near)


def _of_sample(number: int) -> Owned:
    return Owned(sample.entity_key(number), sample.organisation(number), number)
