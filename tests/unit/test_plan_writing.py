"""A plan that is written is the plan that is read."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from control.plan.model import Plan
from control.plan.notify import KINDS, Notify
from control.plan.reading import read_plan
from control.plan.sections import Backfill, Database, Index, Query, Redis, RowSecurity, Table, Tenant, Verify
from control.plan.writing import toml
from sql.tenant_source import Constant, Expression, Lookup, Parent

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
_TABLE_NAMES = _NAMES.map(lambda name: '"' + name.replace('"', '""') + '"')
_ON = st.dictionaries(_NAMES, _NAMES, min_size=1, max_size=2)


#: A tenant is never what a row without one holds.
_TENANTS = _TEXT.map("t {}".format)
_URLS = _TEXT.map(SecretStr)
_WEBHOOKS = _TEXT.map(lambda text: SecretStr(f"env:{text}"))
_KINDS = st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple)
_MODES = st.sampled_from(["observe", "permissive", "strict"])


@st.composite
def _tables(draw: st.DrawFn, column: str) -> tuple[Table, ...]:
    tables: list[Table] = []
    for name in draw(st.lists(_TABLE_NAMES, min_size=1, max_size=4, unique=True)):
        sources = [
            st.builds(Constant, constant=_TENANTS),
            st.builds(Expression, expression=_TEXT, otherwise=st.none() | _TENANTS),
            st.builds(Lookup, lookup=_TABLE_NAMES, on=_ON, column=_NAMES),
        ]
        if tables:
            parents = st.sampled_from([table.name for table in tables])
            sources.append(st.builds(Parent, parent=parents, on=_ON, otherwise=st.none() | _TENANTS))
        tables.append(
            Table(
                name=name,
                tenant=draw(st.one_of(sources)),
                indexes=(Index(name=f"{len(tables)}{draw(_NAMES)}", columns=(column, draw(_NAMES))),),
                primary_key=draw(st.none() | _NAMES.map(lambda key: (key, column))),
                unique=tuple(draw(st.lists(_NAMES, max_size=2, unique=True))),
                rls=draw(st.none() | st.builds(RowSecurity, policy=_NAMES, mode=_MODES)),
            )
        )
    return tuple(tables)


@st.composite
def _plans(draw: st.DrawFn) -> Plan:
    column = draw(_NAMES)
    queries = st.builds(Query, sql=_TEXT, max_ms=st.floats(0.5, 1e6))
    return Plan(
        name=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", fullmatch=True)),
        database=Database(url=draw(_URLS), standbys=tuple(draw(st.lists(_URLS, max_size=2)))),
        tenant=Tenant(column=column, sentinel=draw(st.sampled_from(["", "null", "\"no'body\n"]))),
        tables=draw(_tables(column)),
        redis=draw(st.none() | st.builds(Redis, url=_URLS)),
        backfill=Backfill(first_batch=draw(st.integers(100, 100_000))),
        verify=Verify(queries=tuple(draw(st.lists(queries, max_size=2)))),
        notify=draw(st.none() | st.builds(Notify, url=_WEBHOOKS, secret=st.none() | _URLS, on=_KINDS)),
    )


@given(plan=_plans(), head=st.lists(_TEXT, max_size=2), note=_TEXT)
def test_every_plan_reads_back_as_it_was_written(plan: Plan, head: list[str], note: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "migration.toml"
        file.write_text(toml(plan, head=head, notes={plan.tables[0].name: [note]}), encoding="utf-8")
        assert read_plan(file) == plan


@given(plan=_plans(), offered=st.lists(_NAMES, min_size=1, max_size=3, unique=True))
def test_what_is_offered_changes_nothing_until_its_line_is_taken_in(plan: Plan, offered: list[str]) -> None:
    first, *others = plan.tables
    asked = plan.model_copy(update={"tables": (first.model_copy(update={"unique": ()}), *others)})
    taken = plan.model_copy(update={"tables": (first.model_copy(update={"unique": tuple(offered)}), *others)})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "migration.toml"
        text = toml(asked, offers={first.name: offered})
        file.write_text(text, encoding="utf-8")
        assert read_plan(file) == asked
        file.write_text(text.replace("# unique = [", "unique = [", 1), encoding="utf-8")
        assert read_plan(file) == taken
