"""Where each key of a plan stands."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from control.plan.positions import Path, positions

_BARE = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
_QUOTED = st.sampled_from(['"a.b"', "'#,]'", '"quo\\"te"', '""', '"\\u00e9]"', "'{'"])
_KEYS = st.one_of(_BARE, _QUOTED)
_SCALARS = st.sampled_from(
    [
        *("1", "true", "1979-05-27 07:32:00", "0x1F", "-inf", '"# no comment"', "'}],'", '"\\""', "''"),
        *('"""\n"two" ""\nlines\\""""', "'''\n''a'' = 1\n'''", '""""quoted"""""'),
    ]
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[ # ]\n" + ",\n".join(items) + " ]"),
        st.dictionaries(_KEYS, inner, max_size=3).map(
            lambda pairs: "{ " + ", ".join(f"{key} = {value}" for key, value in pairs.items()) + " }"
        ),
    ),
    max_leaves=6,
)
_LINES = st.one_of(
    st.builds("{} = {}".format, st.lists(_KEYS, min_size=1, max_size=3).map(" . ".join), _VALUES),
    st.builds("[{}]".format, st.lists(_KEYS, min_size=1, max_size=3).map(".".join)),
    st.builds("[[ {} ]] # again".format, st.lists(_KEYS, min_size=1, max_size=3).map(".".join)),
    st.sampled_from(["# [[not]] = a table", "", "  \t"]),
)


def _paths(value: Any, path: Path = ()) -> set[Path]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return ({path} if path else set()).union(*(_paths(one, (*path, key)) for key, one in inner))


@given(lines=st.lists(_LINES, max_size=12))
def test_every_value_of_a_valid_toml_text_has_a_line_and_nothing_else_has(lines: list[str]) -> None:
    text = ""
    for line in lines:
        try:
            tomllib.loads(text + line + "\n")
        except tomllib.TOMLDecodeError:
            continue
        text += line + "\n"
    assert set(positions(text)) == _paths(tomllib.loads(text))


def test_each_line_is_the_one_on_which_the_key_is_written() -> None:
    text = (
        "name = 'x'\n"
        "[database]\n"
        'url = """\n'
        'two lines"""\n'
        "[[tables]]\n"
        "name = 'a' # [[tables]]\n"
        "indexes = [\n"
        "  { name = 'i' },\n"
        "  { name = 'j', columns = ['x',\n"
        "    'y'] },\n"
        "]\n"
        "[[tables]]\n"
        "tenant.constant = 'b'\n"
        "[tables.rls]\n"
        "policy = 'p'\n"
    )
    assert positions(text) == {
        ("name",): 1,
        ("database",): 2,
        ("database", "url"): 3,
        ("tables",): 5,
        ("tables", 0): 5,
        ("tables", 0, "name"): 6,
        ("tables", 0, "indexes"): 7,
        ("tables", 0, "indexes", 0): 8,
        ("tables", 0, "indexes", 0, "name"): 8,
        ("tables", 0, "indexes", 1): 9,
        ("tables", 0, "indexes", 1, "name"): 9,
        ("tables", 0, "indexes", 1, "columns"): 9,
        ("tables", 0, "indexes", 1, "columns", 0): 9,
        ("tables", 0, "indexes", 1, "columns", 1): 10,
        ("tables", 1): 12,
        ("tables", 1, "tenant"): 13,
        ("tables", 1, "tenant", "constant"): 13,
        ("tables", 1, "rls"): 14,
        ("tables", 1, "rls", "policy"): 15,
    }


def test_windows_line_ends_count_once() -> None:
    assert positions("a = 1\r\nb = 2\r\n") == {("a",): 1, ("b",): 2}
