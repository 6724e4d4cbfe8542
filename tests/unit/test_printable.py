"""A terminal obeys nothing that stands in the database, and shows what its encoding has."""

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from control.cli import options
from control.watch.printable import forgive, printable


@given(st.text())
def test_a_text_keeps_its_length_and_its_lines_and_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert shown.count("\n") == text.count("\n")
    assert all(letter.isprintable() or letter in "\n\t" for letter in shown)


def test_what_commands_show_has_no_escape_of_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    console = options.console()
    console.print(Text("evil\x1b]0;title\x1b[2J\x9b31m", "bold"), soft_wrap=True)
    assert capsys.readouterr().out == "evil ]0;title [2J 31m\n"


@pytest.mark.parametrize(
    ("encoding", "text", "said"),
    [("ascii", "✓ done", b"? done"), ("utf-8", "✓ \udcff", b"\xe2\x9c\x93 \\udcff")],
)
def test_what_an_encoding_lacks_is_said_otherwise_and_no_error(encoding: str, text: str, said: bytes) -> None:
    out = io.BytesIO()
    stream = io.TextIOWrapper(out, encoding=encoding)
    forgive(stream)
    stream.write(text)
    stream.flush()
    assert out.getvalue() == said


def test_json_keeps_every_letter_in_a_locale_that_has_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    stream = io.TextIOWrapper(out, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    options.say_json({"name": "Größe ✓"})
    stream.flush()
    assert json.loads(out.getvalue()) == {"name": "Größe ✓"}
