"""Where the plan's addresses and secrets come from: the environment, or a file of one line."""

from pathlib import Path

import pytest

from sql.errors import GivenWrongError
from sql.postgres.connection import resolve


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_s_one_line_is_taken_without_its_end(tmp_path: Path, end: str) -> None:
    file = tmp_path / "url"
    file.write_text(f"postgresql://op:a b@db/graph {end}", newline="")
    assert resolve(f"file:{file}") == "postgresql://op:a b@db/graph "


@pytest.mark.parametrize("text", ["", "\n", "TOP-SECRET\nand more\n", "TOP-SECRET" * 2_000])
def test_a_file_that_holds_no_one_line_is_refused_without_a_word_of_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "url"
    file.write_text(text)
    with pytest.raises(GivenWrongError, match=r"url, which must hold one line and nothing else$") as refused:
        resolve(f"file:{file}")
    assert "TOP-SECRET" not in str(refused.value)


def test_a_file_that_is_not_there_or_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        GivenWrongError, match=r"its secret from the file .*/url, which can't be read: No such"
    ):
        resolve(f"file:{tmp_path}/url", "its secret")
    (tmp_path / "url").write_bytes(b"\xff\xfe")
    with pytest.raises(GivenWrongError, match="is not UTF-8"):
        resolve(f"file:{tmp_path}/url")


def test_a_file_that_everybody_may_write_names_no_server_of_ours(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://db/graph")
    file.chmod(0o666)
    with pytest.raises(GivenWrongError, match="everybody may write; chmod it 0600"):
        resolve(f"file:{file}")
    file.chmod(0o644)
    assert resolve(f"file:{file}") == "postgresql://db/graph"
