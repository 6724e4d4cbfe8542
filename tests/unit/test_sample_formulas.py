"""The sample graph's formulas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.demo import sample


@st.composite
def relations(draw: st.DrawFn) -> tuple[int, int, int]:
    entities = draw(st.integers(sample.FEWEST_ENTITIES, 10_000_000))
    most = entities * ((entities // sample.ORGANISATIONS - 1) // 2)
    count = draw(st.integers(1, most))
    return draw(st.integers(1, count)), entities, count


@given(relations())
def test_a_relation_joins_two_entities_of_one_organisation(relation: tuple[int, int, int]) -> None:
    number, entities, count = relation
    source, target = sample.ends(number, entities=entities, relations=count)
    assert source != target
    assert 1 <= source <= entities
    assert 1 <= target <= entities
    assert sample.organisation(source) == sample.organisation(target)


@pytest.mark.parametrize(
    ("entities", "relations"), [(250, 500), (2_000, 4_000), (2_017, 9_001), (2_000, 333)]
)
def test_no_two_entities_are_joined_twice_nor_to_and_fro(entities: int, relations: int) -> None:
    pairs = {
        frozenset(sample.ends(number, entities=entities, relations=relations))
        for number in range(1, relations + 1)
    }
    assert len(pairs) == relations


def test_keys_sort_as_their_numbers_do() -> None:
    assert sample.entity_key(9) < sample.entity_key(10) < sample.entity_key(3_400_000)
    assert sample.relation_key(9) < sample.relation_key(10) < sample.relation_key(6_800_000)
