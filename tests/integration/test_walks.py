"""From every stage to every earlier one and there again: each leaves what it did at first, byte for byte."""

import os
import random
from pathlib import Path

import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.proposal import propose
from control.plan.reading import read_plan
from sql.postgres.connection import connect
from tests import schemas
from tests.integration.stations import PLACES, START, Journey

#: The unique index of a new key goes with the key on the way back: two unique keys side by side make
#: concurrent upserts fail. So these are left without it, and have it again when the keys have.
_WITHOUT_KEY_INDEX = {"indexes", "application"}

PAIRS = [(here, there) for at, here in enumerate(PLACES) for there in PLACES[:at]]


@pytest.fixture(params=["sample", "odd"])
def journey(
    request: pytest.FixtureRequest,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Journey:
    """A migration at its end that knows what each stage left."""
    url: str = request.getfixturevalue("sample" if request.param == "sample" else "database")
    monkeypatch.setenv("DATABASE_URL", url)
    file = tmp_path / "migration.toml"
    with connect(url, "test") as connection:
        if request.param == "sample":
            proposed = propose(connection, url="env:DATABASE_URL")
            file.write_text(proposed.replace('quiet = "10m"', 'quiet = "100ms"'))
        else:
            connection.execute(schemas.statements(request.param).encode())
            file.write_text(schemas.plan(request.param))
    made = Journey(read_plan(file), url, valkey.url, postgres)
    made.all_the_way()
    return made


def _walked(journey: Journey, pairs: list[tuple[str, str]]) -> None:
    for here, there in pairs:
        journey.there(here)
        journey.back(there)
        lost = here in PLACES[PLACES.index("keys") :] and there in _WITHOUT_KEY_INDEX
        if not lost:
            assert journey.look() == journey.left[there], f"from {here} back to {there}"
        assert journey.is_on_record() == (there != START)
        journey.there(here)
        assert journey.look() == journey.left[here], f"from {there} to {here} again"
        journey.back(START)
        assert journey.look() == journey.left[START], f"from {here} back, by {there}"


def test_a_few_stages_lead_back_to_earlier_ones_and_there_again(journey: Journey) -> None:
    journey.back(START)
    assert journey.look() == journey.left[START]
    assert not journey.is_on_record()
    _walked(journey, random.Random(os.environ.get("SEED", "1")).sample(PAIRS, 2))


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_every_stage_leads_back_to_every_earlier_one_and_there_again(journey: Journey) -> None:
    journey.back(START)
    _walked(journey, PAIRS)
