"""A SQLite file's tables get their tenants, whatever their keys are, while old code writes meanwhile."""

import random
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.integration.sqlite.filled import SHAPES, OldCode, Shape, asked, made, old_code, plan_of, run

_ROWS = 260
_ORGS = ("red", "blue", "green")


def _fill(shape: Shape, more: str, values: str) -> str:
    """A statement that writes rows 1 to 260 of a table."""
    columns = ", ".join(f'"{name}"' for name in shape.key)
    return (
        f"WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {_ROWS}) "
        f"INSERT INTO {shape.quoted} ({columns}, {more}) SELECT {', '.join(shape.values)}, {values} FROM s"
    )


class _Busy:
    """Old code that does something before each of our transactions, as chance has it."""

    def __init__(self, code: OldCode, parent: Shape, child: Shape, chance: random.Random) -> None:
        self.code, self.parent, self.child, self.chance = code, parent, child, chance
        self.next = _ROWS

    def __call__(self) -> None:
        number, org = self.chance.randint(1, _ROWS), self.chance.choice(_ORGS)
        parent, child = self.parent, self.child
        match self.chance.randrange(6):
            case 0:
                self.next += 1
                names = ", ".join(f'"{name}"' for name in parent.key)
                made_of = (
                    f"WITH s (n) AS (SELECT {self.next}) SELECT {', '.join(parent.values)}, n, '{org}' FROM s"
                )
                self.code.write(f"INSERT INTO {parent.quoted} ({names}, number, org) {made_of}")
            case 1:
                self.next += 1
                names = ", ".join(f'"{name}"' for name in child.key)
                made_of = (
                    f"WITH s (n) AS (SELECT {self.next}) SELECT {', '.join(child.values)}, n, {number} FROM s"
                )
                self.code.write(f"INSERT INTO {child.quoted} ({names}, number, above) {made_of}")
            case 2:
                self.code.write(f"UPDATE {parent.quoted} SET org = '{org}' WHERE number = {number}")
            case 3:
                self.code.write(
                    f"UPDATE {child.quoted} SET above = {number} WHERE number = ?", self.next // 2
                )
            case 4:
                self.code.write(f"DELETE FROM {child.quoted} WHERE number = {number}")
            case _:
                # A row gets another key, beyond the bound or before it.
                self.next += 1
                made_of = f"WITH s (n) AS (SELECT {self.next * self.chance.choice([1, -1])})"
                assigned = ", ".join(
                    f'"{name}" = ({made_of} SELECT {value} FROM s)'
                    for name, value in zip(child.key, child.values, strict=True)
                )
                self.code.write(f"UPDATE {child.quoted} SET {assigned} WHERE number = {number}")


def _source(kind: str) -> dict[str, Any]:
    sources: dict[str, dict[str, Any]] = {
        "expression": {"expression": "org", "otherwise": "nobody"},
        "lookup": {"lookup": "orgs", "on": {"org": "id"}, "column": "tenant"},
        "constant": {"constant": "one"},
    }
    return sources[kind]


@given(
    st.sampled_from(SHAPES),
    st.sampled_from(SHAPES),
    st.sampled_from(["expression", "lookup", "constant"]),
    st.sampled_from(["null", ""]),
    st.integers(0, 10**6),
)
@settings(max_examples=20)
@example(SHAPES[9], SHAPES[8], "expression", "null", 1)
@example(SHAPES[4], SHAPES[7], "lookup", "", 2)
@example(SHAPES[5], SHAPES[10], "expression", "null", 3)
@example(SHAPES[8], SHAPES[0], "expression", "null", 886)
def test_every_row_has_what_deriving_in_one_go_would_give_it_whatever_old_code_wrote_meanwhile(
    parent: Shape, child: Shape, kind: str, sentinel: str, seed: int
) -> None:
    with TemporaryDirectory() as folder:
        # Two tables of one shape need two names.
        child = Shape(f"{child.name} below", child.columns, child.key, child.values)
        path = made(
            Path(folder) / "file.db",
            "CREATE TABLE orgs (id TEXT PRIMARY KEY, tenant TEXT)",
            "INSERT INTO orgs VALUES ('red', 't-red'), ('blue', 't-blue'), ('green', 't-green')",
            parent.create("number INTEGER UNIQUE, org TEXT"),
            child.create("number INTEGER UNIQUE, above INTEGER"),
            _fill(
                parent, "number, org", "n, CASE n % 3 WHEN 0 THEN 'red' WHEN 1 THEN 'blue' ELSE 'green' END"
            ),
            _fill(child, "number, above", f"n, n * 31 % {_ROWS} + 1"),
        )
        plan = plan_of(
            path,
            [
                {"name": parent.name, "tenant": _source(kind)},
                {"name": child.name, "tenant": {"parent": parent.name, "on": {"above": "number"}}},
            ],
            tenant={"sentinel": sentinel},
        )
        code = old_code(path)
        with closing(code.connection):
            busy = _Busy(code, parent, child, random.Random(seed))
            run(plan, beside=busy)
        told = {"expression": "p.org", "lookup": "'t-' || p.org", "constant": "'one'"}[kind]
        assert asked(path, f"SELECT * FROM {parent.quoted} AS p WHERE tenant_id IS NOT {told}") == []
        assert (
            asked(
                path,
                f"SELECT c.* FROM {child.quoted} AS c LEFT JOIN {parent.quoted} AS p ON p.number = c.above "
                f"WHERE c.tenant_id IS NOT {told}",
            )
            == []
        )
