"""From every stage to every earlier one and there again: each leaves what it did at first, byte for byte."""

import os
import random
from collections.abc import Iterable

import pytest

from control.plan.reading import read_plan
from tests.integration.operating import Operator
from tests.integration.stations import PLACES, START, Journey

Pair = tuple[str, str]

#: Every place with every earlier one, the last places first: one walk goes through them without a detour.
PAIRS: list[Pair] = [
    (here, there) for at in range(len(PLACES) - 1, 0, -1) for here in [PLACES[at]] for there in PLACES[:at]
]


@pytest.fixture
def journey(quiet_operator: Operator) -> Journey:
    """A migration at its end that knows what each stage left."""
    where = quiet_operator
    made = Journey(read_plan(where.plan), where.url, where.queue, where.server)
    made.all_the_way()
    return made


def _walked(journey: Journey, pairs: Iterable[Pair]) -> None:
    """To each place, back from it to the other, and there again; at last to the start."""
    for here, there in pairs:
        journey.back(here)
        _looks(journey, here, f"back to {here}")
        journey.back(there)
        _looks(journey, there, f"from {here} back to {there}")
        journey.there(here)
        _looks(journey, here, f"from {there} to {here} again")
    journey.back(START)
    _looks(journey, START, "back to the start")


def _looks(journey: Journey, place: str, way: str) -> None:
    assert journey.is_on_record() == (place != START), way
    assert journey.looks_as_it_did(place), way


def _seeded(number: int) -> list[Pair]:
    chosen = random.Random(os.environ.get("SEED", "1")).sample(range(len(PAIRS)), number)
    return [PAIRS[at] for at in sorted(chosen)]


@pytest.mark.parametrize("quiet_operator", ["sample", "odd"], indirect=True)
def test_a_seeded_stage_leads_back_to_an_earlier_one_and_there_again(journey: Journey) -> None:
    _walked(journey, _seeded(1))


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("quiet_operator", ["sample", "odd"], indirect=True)
def test_every_stage_leads_back_to_every_earlier_one_and_there_again(journey: Journey) -> None:
    _walked(journey, PAIRS)


@pytest.mark.full
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("quiet_operator", ["large"], indirect=True)
def test_of_two_hundred_tables_some_stages_lead_back_to_earlier_ones_and_there_again(
    journey: Journey,
) -> None:
    _walked(journey, _seeded(2))
