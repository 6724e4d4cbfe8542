"""docs/reliability.md names tests that are there, and every test of the chaos suite."""

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_DOCUMENT = (_ROOT / "docs/reliability.md").read_text(encoding="utf-8")
_NAMED = re.compile(r"`(?P<file>(?:tests/integration/)?test_\w+\.py)(?:::(?P<test>test_\w+))?`")
_TEST = re.compile(r"^def (test_\w+)", re.MULTILINE)


def _tests_of(file: str) -> list[str]:
    path = _ROOT / file if "/" in file else _ROOT / "tests/chaos" / file
    return _TEST.findall(path.read_text(encoding="utf-8"))


def test_every_test_that_it_names_is_there() -> None:
    named = [(found["file"], found["test"]) for found in _NAMED.finditer(_DOCUMENT)]
    assert named
    for file, test in named:
        tests = _tests_of(file)
        assert test in tests if test else tests, (file, test)


def test_every_fault_of_the_chaos_suite_stands_in_it() -> None:
    files = sorted((_ROOT / "tests/chaos").glob("test_*.py"))
    assert files
    tests = {(file.name, test) for file in files for test in _tests_of(file.name)}
    assert tests == {(found["file"], found["test"]) for found in _NAMED.finditer(_DOCUMENT)} & tests
