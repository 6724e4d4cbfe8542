"""Whatever a plan's file holds, it is read as a plan, or what is wrong is one line that names the file."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from control.plan.reading import read_plan
from sql.errors import PlanError
from tests import schemas

_PLANS = [
    Path("control/demo/sample.toml").read_text(encoding="utf-8"),
    *(schemas.plan(name) for name in ("odd", "odd_file")),
]
_VALUES = st.one_of(
    st.sampled_from(
        [
            *("nan", "-inf", "1e999", "0x7fffffffffffffffffff", "-0", "true", "1979-05-27", "1_000", "0b1"),
            *('""', '"\\u0000"', '"\\ud800"', '"%s{}"', '"env:"', '"sqlite:///"', "'''x", '"a" "b"'),
            *("[]", "{}", "[[]]", "9" * 5_000, "[" * 600 + "]" * 600, "{a.b.c = {d = [1, {e = 2}]}}"),
            '"postgresql://u:p@h:x/d"',
        ]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=30).map(json.dumps),
)
_ASSIGNED = re.compile(r"(?m)^(\s*[\w.\"]+\s*=\s*).+$")


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    text = draw(st.sampled_from(_PLANS))
    for _ in range(draw(st.integers(1, 4))):
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 6)):
            case 0:
                lines[at] = _ASSIGNED.sub(lambda found: found[1] + draw(_VALUES), lines[at])
            case 1:
                lines.insert(at, draw(st.sampled_from(lines)))
            case 2:
                del lines[at]
            case 3:
                cut = draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:cut] + draw(st.text(max_size=5)) + lines[at][cut:]
            case 4:
                lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
            case 5:
                lines.insert(at, f"{draw(st.text(min_size=1, max_size=8))} = {draw(_VALUES)}")
            case 6:
                lines.insert(
                    at, f"[{draw(st.sampled_from(['tables', '[tables]', 'tenant', 'a.b', '', 'x']))}]"
                )
        text = "\n".join(lines)
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    data = text.replace("\n", end).encode(encoding, "replace")
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(data)))
        data = data[:cut] + draw(st.binary(max_size=4)) + data[cut:]
    return data


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=_mutated())
@example(data=b"")
@example(data=b"\x00" * 100)
@example(data=b"a = " + b"[" * 100_000)
@example(data=b"a" + b".a" * 2_000 + b" = 1")
@example(data=b"a" + b".a" * 1_000_000 + b" = 1")
@example(data=b"x = " + b"{a = " * 240 + b"1" + b"}" * 240)
@example(data=b"x = " + b"{a = " * 320 + b"1" + b"}" * 320)
@example(data=b"[" + b'"a" . ' * 200_000 + b"a]")
@example(data=b"x = {" + b"'a'." * 200_000 + b"a = 1}")
@example(data=b'x = "' + b"a" * 1_000_000 + b'"' * 1_000)
def test_a_mutated_plan_is_read_or_refused_in_one_line_that_names_the_file(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "mutated.toml"
    file.write_bytes(data)
    try:
        read_plan(file)
    except PlanError as error:
        told, line = str(error), error.line or 1
    else:
        return
    assert told.startswith(str(file))
    assert "\n" not in told, told
    assert 1 <= line <= data.count(b"\n") + data.count(b"\r") + 1
