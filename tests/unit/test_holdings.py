"""Which entities a connection of the demo's application owns."""

import random

import pytest

from control.demo import sample
from control.demo.holdings import Holdings, Owned

ENTITIES = 500


def holdings(connection: int, connections: int = 4) -> Holdings:
    return Holdings(connection, connections=connections, entities=ENTITIES, choice=random.Random(connection))


def chosen(of: Holdings, times: int = 3_000) -> set[Owned]:
    return {of.any() for _ in range(times)}


@pytest.mark.parametrize("connections", [1, 4, 7])
def test_every_entity_of_the_sample_has_exactly_one_owner(connections: int) -> None:
    owned = [
        each.id for number in range(connections) for each in chosen(holdings(number, connections), 5_000)
    ]
    assert sorted(owned) == [sample.entity_key(number) for number in range(1, ENTITIES + 1)]


def test_a_neighbour_is_another_entity_of_the_same_owner_and_organisation() -> None:
    of = holdings(2)
    mine = chosen(of)
    for entity in mine:
        for other in filter(None, (of.beside(entity) for _ in range(20))):
            assert other in mine
            assert other != entity
            assert other.org == entity.org


def test_a_deleted_entity_is_never_chosen_again() -> None:
    of = holdings(1)
    inserted = Owned("live-entity-1-00000001", sample.organisation(1), 1)
    of.add(inserted)
    of_sample = next(each for each in chosen(of) if each != inserted)
    for entity in (inserted, of_sample):
        of.remove(entity)
    assert not {inserted, of_sample} & chosen(of)


def test_three_quarters_of_the_sample_are_never_deleted() -> None:
    of = holdings(3)
    for _ in range(ENTITIES):
        entity = of.any()
        if of.may_delete(entity):
            of.remove(entity)
    assert len(chosen(of)) * 4 >= ENTITIES / 4 * 3
