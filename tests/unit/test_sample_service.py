"""Which code the sample's application deploys, by the unique keys that it sees."""

from itertools import pairwise

import pytest

from control.demo.messages import Code
from control.demo.service import UniqueKeys, code_for

NONE = UniqueKeys()
OLD = UniqueKeys(old=True)
BOTH = UniqueKeys(old=True, new=True)
NEW = UniqueKeys(new=True)


@pytest.mark.parametrize(
    ("seen", "codes"),
    [
        ((NONE, OLD, BOTH, NEW), ("old", "new", "new")),
        ((NONE, NEW, BOTH, OLD), ("new", "old", "old")),
        ((NONE, BOTH, OLD), ("new", "new")),
        ((NONE, OLD, BOTH, BOTH), ("old", "new", "new")),
    ],
    ids=["on the way", "on the way back", "begun between, and back", "nothing new"],
)
def test_the_code_is_that_of_the_key_that_came_last(
    seen: tuple[UniqueKeys, ...], codes: tuple[Code, ...]
) -> None:
    running: Code = "old"
    ran = []
    for before, now in pairwise(seen):
        running = code_for(now, before, running)
        ran.append(running)
    assert tuple(ran) == codes
