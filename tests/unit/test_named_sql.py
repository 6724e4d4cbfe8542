"""Every statement stands in a file under a name, with what it locks."""

import re
from pathlib import Path

import pytest
from psycopg import sql

import sql as statements
from sql.named import parse

_FILES = sorted(Path(statements.__file__).parent.glob("*/*.sql"))
_MODES = re.compile(
    r"\b(ACCESS SHARE|ROW SHARE|ROW EXCLUSIVE|SHARE UPDATE EXCLUSIVE|SHARE|SHARE ROW EXCLUSIVE|EXCLUSIVE"
    r"|ACCESS EXCLUSIVE)\b"
)


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_every_statement_names_a_lock_mode_or_says_that_it_takes_none(file: Path) -> None:
    for statement in parse(file.stem, file.read_text(encoding="utf-8")).values():
        told = _MODES.search(statement.locks) or re.search(
            r"\b(nothing|no lock|none|advisory|write lock)\b", statement.locks, re.IGNORECASE
        )
        assert told, f"{file.stem}.{statement.name}: {statement.locks}"


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_every_name_in_a_file_has_its_statement(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(parse(file.stem, text)) == len(re.findall(r"^-- name:", text, re.MULTILINE))


def test_a_statement_is_sent_under_its_name() -> None:
    statement = parse("batch", "-- name: look\n-- locks: nothing.\nSELECT 1;\n")["look"]
    assert statement.compose().as_string() == "/* tenantry batch.look */ SELECT 1"


def test_what_is_put_into_a_body_does_not_end_it() -> None:
    text = "-- name: make\n-- locks: nothing.\nDO $tenantry$ BEGIN {name}; {name}; END $tenantry$;\n"
    statement = parse("roles", text)["make"]
    for name in ("x", "$tenantry$;--", "$tenantry$$tenantry_1$", "$tenantry_1$"):
        composed = statement.compose(name=sql.Identifier(name)).as_string().partition(" */ ")[2]
        _, quotes, *_ = re.split(r"(\$\w+\$)", composed, maxsplit=1)
        assert composed == f'DO {quotes} BEGIN "{name}"; "{name}"; END {quotes}'
        assert quotes not in name


def test_a_locks_line_may_go_on_over_several_lines() -> None:
    statement = parse("batch", "-- name: look\n-- locks: nothing,\n-- really nothing.\nSELECT 1;\n")["look"]
    assert statement.locks == "nothing, really nothing."


def test_a_name_that_stands_twice_is_refused() -> None:
    twice = "-- name: look\n-- locks: nothing.\nSELECT 1;\n" * 2
    with pytest.raises(ValueError, match="stands twice"):
        parse("batch", twice)
