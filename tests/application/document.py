"""The blocks of Python in docs/application.md, as modules."""

import re
from pathlib import Path

_DOCUMENT = Path(__file__).parents[2] / "docs" / "application.md"
_BLOCK = re.compile(r"^```python(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    """Each block's code by the name of its file.

    Raises:
        AssertionError: one has no name, or two have the same.
    """
    found: dict[str, str] = {}
    for block in _BLOCK.finditer(_DOCUMENT.read_text(encoding="utf-8")):
        named = re.fullmatch(r" title=(\w+\.py)", block["info"])
        assert named is not None, f"a block without a name: {block['code'][:60]!r}"
        assert named[1] not in found, named[1]
        found[named[1]] = block["code"]
    return found
