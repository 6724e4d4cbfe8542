"""SQLite's SQL in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql.sqlite.words import words


@given(st.text())
def test_words_put_together_give_the_text_again(text: str) -> None:
    assert "".join(word.text for word in words(text)) == text


@pytest.mark.parametrize(
    ("written", "named"), [('"a ""b"""', 'a "b"'), ("`c``d`", "c`d"), ("[e f]", "e f"), ("größe", "größe")]
)
def test_a_name_is_read_through_its_quotes(written: str, named: str) -> None:
    (word,) = words(written)
    assert word.named == named


def test_what_stands_in_quotes_or_comments_is_no_keyword() -> None:
    keywords = [
        w.text for w in words("a 'PRIMARY KEY' -- UNIQUE\n/* CHECK */ \"REFERENCES\"") if w.kind == "word"
    ]
    assert keywords == ["a"]
