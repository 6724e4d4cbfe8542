"""The document itself: none of its code is only read."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.application import document

_TESTS = Path(__file__).parent


def modules_asked_for() -> set[str]:
    """The modules that tests here import by `tenancy("…")`."""
    return {
        str(node.args[0].value)
        for tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "tenancy"
        and isinstance(node.args[0], ast.Constant)
    }


def names_used() -> set[str]:
    """Attributes that tests here reach for, and names that one block imports from another."""
    used = {node.attr for tree in _trees() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for snippet in document.snippets():
        for node in ast.walk(ast.parse(snippet.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tenancy."):
                used |= {alias.name for alias in node.names}
    return used


def _trees() -> Iterator[ast.Module]:
    for file in _TESTS.glob("*.py"):
        yield ast.parse(file.read_text())


def test_every_block_of_python_is_a_file_that_tests_import() -> None:
    titles = [snippet.title for snippet in document.snippets()]
    assert len(titles) >= 13
    untold = [title for title in titles if title is None]
    assert not untold, "a fence without a title"
    files = {f"tenancy/{name.replace('.', '/')}.py" for name in modules_asked_for()}
    assert {title for title in titles if title} == files


def test_what_a_block_defines_is_used_by_a_test_or_by_another_block() -> None:
    used = names_used()
    unused = {
        f"{snippet.title}: {node.name}"
        for snippet in document.snippets()
        for node in ast.parse(snippet.text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.name not in used | _named_within(snippet.text)
        and not _listens(node)
    }
    assert unused == set()


def _named_within(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _listens(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether a library calls it from the import on."""
    return any("listens_for" in ast.unparse(decorator) for decorator in node.decorator_list)


@pytest.mark.full
def test_the_snippets_pass_strict_mypy(tmp_path: Path) -> None:
    document.write(tmp_path)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--package=tenancy"]
    # Neither asyncpg nor Django ships types, and what a model or a migration derives from is Any.
    untyped = ["--disable-error-code=import-untyped", "--disable-error-code=misc"]
    done = subprocess.run([*command, *untyped], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
