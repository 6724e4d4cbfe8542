"""SQLSTATEs in words."""

import pytest

from sql.sqlstate import meaning


@pytest.mark.parametrize(
    ("sqlstate", "said"),
    [
        ("55P03", "a lock was not free in time"),
        ("40P01", "deadlock detected"),
        ("53100", "disk full"),
        ("XX000", "internal error"),
        ("23999", "integrity constraint violation"),
        ("T0001", "a code of its own, raised by a trigger or a function"),
        (None, "no outcome: its worker or its backend ended"),
    ],
)
def test_a_code_is_told_by_its_condition_else_by_its_class_else_as_somebody_s_own(
    sqlstate: str | None, said: str
) -> None:
    assert meaning(sqlstate) == said
