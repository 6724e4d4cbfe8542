"""What a plan file may hold, and what is said about one that can't be used."""

from pathlib import Path

import pytest

from control.plan.reading import read_plan
from sql.errors import PlanError
from sql.tenant_source import Constant, Expression, Lookup, Parent

WHOLE = """\
name = "multi-tenancy"

[database]
url = "env:DATABASE_URL"

[tenant]
column = "tenant_id"

[[tables]]
name = "graph_relations"
tenant = { parent = "graph_entities", on = { source_id = "id" } }
primary_key = ["id", "tenant_id"]

[[tables]]
name = "graph_entities"
tenant = { expression = "properties->>'org'", otherwise = "legacy_default" }
indexes = [
  { name = "idx_entities_tenant", columns = ["tenant_id"] },
]
primary_key = ["id", "tenant_id"]
rls = { policy = "tenant_isolation_entities", mode = "strict", quiet = "10m" }
"""


def _read(folder: Path, text: str | bytes) -> PlanError:
    file = folder / "migration.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(PlanError) as caught:
        read_plan(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    return caught.value


def _with(old: str, new: str) -> str:
    assert old in WHOLE
    return WHOLE.replace(old, new)


def test_the_designs_plan_is_read(tmp_path: Path) -> None:
    (tmp_path / "migration.toml").write_text(WHOLE)
    plan = read_plan(tmp_path / "migration.toml")
    assert [table.name for table in plan.tables] == ["graph_relations", "graph_entities"]
    assert plan.tables[1].tenant == Expression(expression="properties->>'org'", otherwise="legacy_default")


def test_parents_come_before_their_children(tmp_path: Path) -> None:
    (tmp_path / "migration.toml").write_text(WHOLE)
    plan = read_plan(tmp_path / "migration.toml")
    assert [table.name for table in plan.in_order()] == ["graph_entities", "graph_relations"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('{ constant = "a" }', Constant(constant="a")),
        ('{ expression = "x" }', Expression(expression="x")),
        (
            '{ lookup = "orgs", on = { org = "id" }, column = "tenant" }',
            Lookup(lookup="orgs", on={"org": "id"}, column="tenant"),
        ),
        (
            '{ parent = "graph_relations", on = { a = "b" } }',
            Parent(parent="graph_relations", on={"a": "b"}),
        ),
        (
            '{ lookup = "l", on = { a = "b" }, column = "c", otherwise = { expression = "x" } }',
            Lookup(lookup="l", on={"a": "b"}, column="c", otherwise=Expression(expression="x")),
        ),
        (
            '{ parent = "graph_entities", on = { a = "id" }, otherwise = { constant = "top" } }',
            Parent(parent="graph_entities", on={"a": "id"}, otherwise=Constant(constant="top")),
        ),
    ],
)
def test_a_tenant_source_is_told_by_its_key(
    tmp_path: Path, written: str, read: Constant | Expression | Lookup | Parent
) -> None:
    text = WHOLE.replace('parent = "graph_entities", on = { source_id = "id" }', 'constant = "c"').replace(
        """{ expression = "properties->>'org'", otherwise = "legacy_default" }""", written
    )
    (tmp_path / "migration.toml").write_text(text)
    assert read_plan(tmp_path / "migration.toml").tables[1].tenant == read


_SOURCE = """{ expression = "properties->>'org'", otherwise = "legacy_default" }"""
_ENTITIES = 'name = "graph_entities"\n'
_ONE_INDEX = '  { name = "idx_entities_tenant", columns = ["tenant_id"] },\n'
_KEY = 'primary_key = ["id", "tenant_id"]\n'

#: What is wrong: the text, the line it is on, and what is said about it.
WRONG: dict[str, tuple[str | bytes, int | None, str]] = {
    "a misspelt key": (
        _with("column =", "colum ="),
        7,
        "unknown key 'colum' in tenant; did you mean 'column'?",
    ),
    "a misspelt section": (
        "databse = 1\n" + WHOLE,
        1,
        "unknown key 'databse'; did you mean 'database'?",
    ),
    "a misspelt key in an inline table": (
        _with("mode =", "mood ="),
        21,
        "unknown key 'mood' in tables[2].rls; did you mean 'mode'?",
    ),
    "a misspelt key in a tenant source": (
        _with("otherwise =", "otherwize ="),
        16,
        "in tables[2].tenant; did you mean 'otherwise'?",
    ),
    "a misspelt key in what is asked then": (
        _with('otherwise = "legacy_default"', 'otherwise = { expresion = "x" }'),
        16,
        "is a tenant, or exactly one of constant, expression, lookup, parent; did you mean 'expression'?",
    ),
    "an unknown key in what is asked then": (
        _with('otherwise = "legacy_default"', 'otherwise = { expression = "x", column = "y" }'),
        16,
        "unknown key 'column' in tables[2].tenant.otherwise",
    ),
    "a tree that is not asked first": (
        _with('otherwise = "legacy_default"', 'otherwise = { parent = "graph_entities", on = { a = "b" } }'),
        16,
        "'graph_entities' is its own parent: say that first",
    ),
    "a sentinel at the end": (
        _with('otherwise = "legacy_default"', 'otherwise = { expression = "x", otherwise = "" }'),
        16,
        "is what a row without a tenant holds",
    ),
    "a key like none": (
        _with("columns =", "zzz ="),
        18,
        "unknown key 'zzz' in tables[2].indexes[1]; known here: name, columns",
    ),
    "a name twice in what is unique": (
        _with("rls =", 'unique = ["a", "a"]\nrls ='),
        21,
        "'a' stands twice in what is unique of 'graph_entities'",
    ),
    "a missing key": (_with(_ENTITIES, ""), 14, "missing key 'name' in tables[2]"),
    "a missing key at the top": (_with('name = "multi-tenancy"\n', ""), None, "missing key 'name'"),
    "an empty file": ("", None, "missing key 'name'"),
    "a wrong type": (
        _with('column = "tenant_id"', "column = 7"),
        7,
        "tenant.column: input should be a valid string",
    ),
    "no duration": (_with('"10m"', '"10 moons"'), 21, "'10 moons' is not a duration; write"),
    "no mode": (_with('"strict"', '"strikt"'), 21, "tables[2].rls.mode: input should be 'observe'"),
    "no source": (
        _with("expression =", "expresion ="),
        16,
        "exactly one of constant, expression, lookup, parent; did you mean 'expression'?",
    ),
    "two sources": (
        _with("otherwise =", "constant ="),
        16,
        "exactly one of constant, expression, lookup, parent",
    ),
    "a parent outside the plan": (
        _with('parent = "graph_entities"', 'parent = "graph_entity"'),
        11,
        "'graph_entity' of 'graph_relations' is not a table of the plan; did you mean 'graph_entities'?",
    ),
    "a tenant that is what a row without one holds": (
        _with('otherwise = "legacy_default"', 'otherwise = ""'),
        16,
        "otherwise of 'graph_entities' is what a row without a tenant holds; name a tenant",
    ),
    "parents in a cycle": (
        _with(_SOURCE, '{ parent = "graph_relations", on = { id = "id" } }'),
        11,
        "take their tenants from each other: graph_relations <- graph_entities <- graph_relations",
    ),
    "a table twice": (
        _with(_ENTITIES, "name = '\"graph_relations\"'\n"),
        15,
        "table '\"graph_relations\"' stands in the plan twice",
    ),
    "an index twice": (
        _with(_ONE_INDEX, _ONE_INDEX * 2),
        19,
        "index 'idx_entities_tenant' stands in the plan twice",
    ),
    "a key without the tenant": (
        _with(_KEY + "\n", 'primary_key = ["id"]\n\n'),
        12,
        "the primary_key of 'graph_relations' must hold the tenant column 'tenant_id'",
    ),
    "a limit that is no number": (
        WHOLE + '[governor]\nmax_waiting = "few"\n',
        23,
        "'few' is no limit; write a number above 0, or none",
    ),
    "a limit that is not a number": (
        WHOLE + '[governor]\nquery = "SELECT 1"\nmax_query = nan\n',
        24,
        "governor.max_query: nan is no limit; write a number above 0, or none",
    ),
    "a limit without end": (
        WHOLE + '[governor]\nquery = "SELECT 1"\nmax_query = inf\n',
        24,
        "governor.max_query: inf is no limit; write a number above 0, or none",
    ),
    "a limit of 400 digits": (
        WHOLE + f"[governor]\nmax_archive_files = 1{'0' * 400}\n",
        23,
        "00 is no limit; write a number above 0, or none",
    ),
    "a size of 400 digits": (
        WHOLE + f"[governor]\nwal_per_second = 1{'0' * 400}\n",
        23,
        "00 is not a size; write 512kB, 64MB or 1GB",
    ),
    "a duration of 400 digits": (
        WHOLE + f"[governor]\nmax_lag = '1{'0' * 400}s'\n",
        23,
        "00 is not a duration; write 100ms, 10s, 10m, 1h or 1d",
    ),
    "a rate of 400 digits": (
        WHOLE + f"[governor]\nrows_per_second = 1{'0' * 400}\n",
        23,
        "governor.rows_per_second: input should be less than or equal to 1000000000",
    ),
    "a time of a query of 400 digits": (
        WHOLE + f"[[verify.queries]]\nsql = 'SELECT 1'\nmax_ms = 1{'0' * 400}\n",
        24,
        "max_ms: input should be a",
    ),
    "a time of a query without end": (
        WHOLE + "[[verify.queries]]\nsql = 'SELECT 1'\nmax_ms = inf\n",
        24,
        "max_ms: input should be a finite number",
    ),
    "a number of thousands of digits": (f"a = {'1' * 5000}", None, "a number in it has thousands of digits"),
    "a truth value for a number": (
        WHOLE + "[governor]\nmax_waiting = true\n",
        23,
        "governor.max_waiting: true is nothing that a key of a plan can be",
    ),
    "a truth value for a size": (
        WHOLE + "[governor]\nwal_per_second = true\n",
        23,
        "governor.wal_per_second: true is nothing that a key of a plan can be",
    ),
    "a duration of nothing for a limit": (
        WHOLE + '[governor]\nmax_lag = "0s"\n',
        23,
        "governor.max_lag: '0s' is no limit; write a duration above 0, such as 10s, or none",
    ),
    "a target of nothing": (
        WHOLE + '[backfill]\ntarget = "0s"\n',
        23,
        "backfill.target: '0s' is nothing to cut batches to; write a duration from 1ms to 10s, as 50ms",
    ),
    "a target of a day": (WHOLE + '[backfill]\ntarget = "1d"\n', 23, "write a duration from 1ms to 10s"),
    "a query that is no text to the server": (
        WHOLE + '[governor]\nquery = "SELECT \\u0000"\n',
        23,
        "governor.query: a text holds U+0000 or what is no UTF-8; PostgreSQL takes neither",
    ),
    "a list with what is no text to the server": (
        WHOLE + '[governor]\nforget_standbys = ["\\u0000"]\n',
        23,
        "governor.forget_standbys: a text holds U+0000",
    ),
    "a tenant that is no text to the server": (
        _with('otherwise = "legacy_default"', 'otherwise = "\\u0000"'),
        16,
        "a text holds U+0000",
    ),
    "a limit that is no size": (
        WHOLE + '[governor]\nmax_lag_bytes = "64 MiB"\n',
        23,
        "'64 MiB' is not a size; write 512kB, 64MB or 1GB",
    ),
    "a stop below its limit": (
        WHOLE + '[governor]\nstop_lag = "1s"\n',
        23,
        "stop_lag is below max_lag: the pace would never be halved before it stops",
    ),
    "a limit for no query": (
        WHOLE + "[governor]\nmax_query = 5\n",
        23,
        "a limit for the plan's own query, and no query",
    ),
    "keys for a schema each": (
        _with('column = "tenant_id"', 'isolation = "separate_schema"'),
        12,
        "primary_key of 'graph_relations' is for isolation = \"shared_schema\"",
    ),
    "edges between schemas": (
        _with('column = "tenant_id"', 'isolation = "separate_schema"\ncross_tenant = "source"'),
        8,
        "no edge leads from schema to schema",
    ),
    "an isolation that there isn't": (
        _with('column = "tenant_id"', 'isolation = "separate_schemas"'),
        7,
        "tenant.isolation",
    ),
    "no TOML": (_with('column = "tenant_id"', "column = tenant_id"), 7, "not TOML: invalid value"),
    "no TOML at the end": (WHOLE + 'x = "', 22, "not TOML: "),
    "a section twice": (WHOLE + "\n[database]\n", 23, "not TOML: cannot declare"),
    "not UTF-8": (WHOLE.encode().replace(b"column", b"c\xfclumn"), 7, "not UTF-8"),
    "nested too deeply": ("a = " + "[" * 5000, None, "nested too deeply"),
}


@pytest.mark.parametrize(("text", "line", "says"), WRONG.values(), ids=WRONG)
def test_a_plan_that_cannot_be_used_is_one_line_with_its_place(
    tmp_path: Path, text: str | bytes, line: int | None, says: str
) -> None:
    error = _read(tmp_path, text)
    assert says.lower() in error.reason.lower()
    assert error.line == line


def test_the_first_of_several_errors_is_told_and_the_rest_counted(tmp_path: Path) -> None:
    error = _read(tmp_path, _with("mode =", "mood =").replace("column =", "colum ="))
    assert error.line == 7
    assert error.reason.endswith("(and 1 more)")


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no such file; `tenantry init` writes a plan"):
        read_plan(tmp_path / "nowhere.toml")


def test_a_folder_in_place_of_a_plan_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"can't be read: Is a directory"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        'url = ["postgresql://u:hunter2@h/d"]',
        'url = { password = "hunter2" }',
        'uri = "postgresql://u:hunter2@h/d"',
        '"postgresql://u:hunter2@h/d" = 1',
        'url = "postgresql://u:hunter2@h/d"\nstandbys = "postgresql://u:hunter2@h/d"',
        'url = "postgresql://u:hunter2@h/d',
    ],
)
def test_no_password_of_a_wrong_plan_is_in_what_is_said_about_it(tmp_path: Path, wrong: str) -> None:
    error = _read(tmp_path, _with('url = "env:DATABASE_URL"', wrong))
    assert "hunter2" not in str(error)
    assert "hunter2" not in repr(error.__cause__)
