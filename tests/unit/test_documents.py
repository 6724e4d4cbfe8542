"""Documents lead to each other and name tests that are there, and none is left out of the list."""

import re
from functools import cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_DOCUMENTS = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").glob("*.md")])
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\((?!https?:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
#: A path of ours; a file of tests by its name alone, where the text says its folder; or a test by its own.
_NAMED = re.compile(
    r"(?<![\w./])(?P<path>tests/[\w./-]*\w|test_\w+\.py)(?:::(?P<test>\w+))?|`(?P<alone>test_\w+)`"
)
_TEST = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)


def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def _tests() -> dict[Path, set[str]]:
    """The names of all tests, by the path of their file from the root."""
    files = (_ROOT / "tests").rglob("test_*.py")
    return {file.relative_to(_ROOT): set(_TEST.findall(file.read_text(encoding="utf-8"))) for file in files}


def _is_there(named: re.Match[str]) -> bool:
    path, test = named["path"], named["test"] or named["alone"]
    if path is not None and test is None and "/" in path:
        return (_ROOT / path).exists()
    return any(
        (path is None or path in {str(file), file.name}) and (test is None or test in tests)
        for file, tests in _tests().items()
    )


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(document: Path) -> None:
    for link in _LINK.finditer(_FENCED.sub("", document.read_text(encoding="utf-8"))):
        target = (document.parent / link["path"]).resolve() if link["path"] else document
        assert target.exists(), link[0]
        if link["anchor"] is not None:
            assert link["anchor"] in _anchors(target), link[0]


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_every_test_and_every_file_of_tests_that_is_named_is_there(document: Path) -> None:
    named = _NAMED.finditer(document.read_text(encoding="utf-8"))
    assert [found[0] for found in named if not _is_there(found)] == []


def test_every_fault_of_the_chaos_suite_stands_in_what_is_promised() -> None:
    named = _NAMED.finditer((_ROOT / "docs/reliability.md").read_text(encoding="utf-8"))
    stands = {(found["path"], found["test"]) for found in named}
    chaos = [
        (file.name, test) for file, tests in _tests().items() if file.parent.name == "chaos" for test in tests
    ]
    assert chaos
    assert [one for one in chaos if one not in stands] == []


def test_the_list_in_order_has_every_document() -> None:
    listed = {link["path"] for link in _LINK.finditer((_ROOT / "docs" / "README.md").read_text("utf-8"))}
    assert {path.name for path in (_ROOT / "docs").glob("*.md")} - {"README.md"} <= listed
