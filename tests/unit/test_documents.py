"""Documents lead to each other, and none is left out of the list."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_DOCUMENTS = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").glob("*.md")])
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\((?!https?:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(document: Path) -> None:
    for link in _LINK.finditer(_FENCED.sub("", document.read_text(encoding="utf-8"))):
        target = (document.parent / link["path"]).resolve() if link["path"] else document
        assert target.exists(), link[0]
        if link["anchor"] is not None:
            assert link["anchor"] in _anchors(target), link[0]


def test_the_list_in_order_has_every_document() -> None:
    listed = {link["path"] for link in _LINK.finditer((_ROOT / "docs" / "README.md").read_text("utf-8"))}
    assert {path.name for path in (_ROOT / "docs").glob("*.md")} - {"README.md"} <= listed
