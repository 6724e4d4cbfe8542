"""The snippets of docs/application.md: each block of Python with the file that its fence names."""

import re
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "application.md"

_FENCE = re.compile(
    r"^```(?P<language>\S*)(?: title=(?P<title>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Snippet:
    """A block of Python: the file that it is to be, or None where its fence names none, and its text."""

    title: str | None
    text: str


def snippets() -> list[Snippet]:
    """Every block of Python in the document."""
    return [
        Snippet(found["title"], found["text"])
        for found in _FENCE.finditer(DOCUMENT.read_text())
        if found["language"] in ("python", "py")
    ]


def write(folder: Path) -> None:
    """Write the files that the document describes, as its reader would."""
    for snippet in snippets():
        assert snippet.title is not None, f"a block without a title: {snippet.text[:60]!r}"
        file = folder / snippet.title
        file.parent.mkdir(parents=True, exist_ok=True)
        assert not file.exists(), f"two blocks are called {snippet.title}"
        file.write_text(snippet.text)
        (file.parent / "__init__.py").touch()
