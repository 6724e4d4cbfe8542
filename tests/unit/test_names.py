"""Names of what the migration makes: they fit, and two things never get one name."""

from hypothesis import given
from hypothesis import strategies as st

from control import names

NAME = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=80)


@given(NAME)
def test_a_name_fits_and_one_that_fits_is_left_alone(name: str) -> None:
    fitting = names.fitting(name)
    assert len(fitting.encode()) <= 63
    assert len(name.encode()) > 63 or fitting == name


@given(NAME, NAME)
def test_two_names_stay_two(one: str, other: str) -> None:
    assert (names.fitting(one) == names.fitting(other)) == (one == other)


@given(NAME)
def test_what_stands_beside_a_name_has_another(name: str) -> None:
    fitting = names.fitting(name)
    assert len({fitting, names.incoming(fitting), names.returning(fitting)}) == 3
