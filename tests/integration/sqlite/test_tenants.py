"""Tenants of a file one at a time: whose rows go where, with all that goes along, and back."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from control.cli import main
from control.sqlite import conductor
from control.sqlite.assignment import asking, assigning
from control.sqlite.standings import standings
from control.tenants import asking as shared
from control.tenants import serving
from control.tenants.asking import Wish
from sql.errors import AssignmentError, CancelledError, GateClosedError, GivenWrongError
from sql.sqlite.connection import File
from tests.integration.sqlite.graph_plan import application, contents, migrate, plan_of, run
from worker import ledger

STAGES = ("filled", "migrated")
#: Whose rows are no family of their own otherwise: each relation and its ends are of one organisation.
OF_ONE = "CAST(substr(id, 2) AS INTEGER) % 4 = 1"


def ready(path: Path, stage: str) -> Path:
    """All rows are `default`'s, with the old keys and the write guard, or with the new ones and none."""
    migrate(path, to=None if stage == "migrated" else "backfill")
    with application(path) as connection:
        # Where the guard lets rows follow, the second finds them there already.
        for table in ("entities", "relations"):
            connection.execute(f"UPDATE {table} SET tenant_id = 'default'")
    return path


@pytest.fixture(params=STAGES)
def graph_of_one(request: pytest.FixtureRequest, graph: Path) -> Path:
    return ready(graph, request.param)


def wished(where: str | None, to: str = "acme", from_: str = "default", *tables: str) -> Wish:
    return Wish(to, from_, where, tables)


def assign(path: Path, wish: Wish | None, **more: Any) -> dict[str, int]:
    """As the command does it; without a wish the last one is taken back."""
    plan = plan_of(path, **more)
    with conductor.controller(plan) as file:
        ground = asking.ground(plan, file)
        wish = wish or shared.last(ground)
        begun = shared.under_way(ground, wish)
        if begun is None:
            begun = shared.begin(ground, asking.prospect(ground, wish).family, wish)
        return assigning.carry_out(ground, begun)


def of(path: Path, table: str) -> dict[str, str]:
    with application(path) as connection:
        return dict(connection.execute(f"SELECT id, tenant_id FROM {table}").fetchall())


def change(path: Path, *statements: str) -> None:
    with application(path) as connection:
        for statement in statements:
            connection.execute(statement)


def rows_of(path: Path) -> list[str]:
    """Everything in the file that isn't ours."""
    return [line for line in contents(path) if "tenantry_" not in line]


def numbers(told: dict[str, str], tenant: str) -> set[int]:
    return {int(name[1:]) % 4 for name, owner in told.items() if owner == tenant}


def test_rows_go_with_their_families_and_come_back(graph_of_one: Path) -> None:
    before = rows_of(graph_of_one)
    assert assign(graph_of_one, wished(OF_ONE)) == {"entities": 50, "relations": 100}
    for table in ("entities", "relations"):
        told = of(graph_of_one, table)
        assert (numbers(told, "acme"), numbers(told, "default")) == ({1}, {0, 2, 3})
    assert assign(graph_of_one, None) == {"entities": 50, "relations": 100}
    assert rows_of(graph_of_one) == before


def broken_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Assign, and count after each transaction the rows that break a foreign key."""
    monkeypatch.setattr(assigning, "FIRST", 3)
    monkeypatch.setattr(assigning, "MOST", 3)
    seen: list[int] = []
    take = assigning._Work._take

    def look(self: assigning._Work, name: str, rows: list[tuple[Any, ...]]) -> int:
        taken = take(self, name, rows)
        with application(path) as connection:
            seen.append(len(connection.execute("PRAGMA foreign_key_check").fetchall()))
        return taken

    with monkeypatch.context() as patched:
        patched.setattr(assigning._Work, "_take", look)
        assign(path, wished("CAST(substr(id, 2) AS INTEGER) % 4 < 2"))
    return seen


def test_what_is_joined_by_keys_with_the_tenant_goes_in_one_transaction(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(graph, "migrated")
    # Two organisations, each of them joined in itself.
    assert broken_meanwhile(graph, monkeypatch) == [0]


def test_what_is_too_much_for_one_transaction_goes_in_several_and_is_whole_at_the_end(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(graph, "migrated")
    monkeypatch.setattr(assigning, "LARGEST", 20)
    seen = broken_meanwhile(graph, monkeypatch)
    assert len(seen) > 30
    assert seen[-1] == 0
    assert assign(graph, None) == {"entities": 100, "relations": 200}


def test_before_the_keys_hold_the_tenant_no_transaction_is_larger_than_it_has_to_be(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(graph, "filled")
    seen = broken_meanwhile(graph, monkeypatch)
    assert len(seen) > 30
    assert set(seen) == {0}


def test_what_was_broken_off_goes_on_with_the_same_command_and_no_other(
    graph_of_one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assigning, "MOST", 5)
    monkeypatch.setattr(assigning, "FIRST", 5)
    monkeypatch.setattr(assigning, "LARGEST", 1)
    batch, done = assigning._Work._batch, list[None]()

    def killed(self: assigning._Work, name: str, rows: list[tuple[Any, ...]]) -> dict[str, int]:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(None)
        return batch(self, name, rows)

    with monkeypatch.context() as patched:
        patched.setattr(assigning._Work, "_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            assign(graph_of_one, wished(OF_ONE))
    assert 0 < len([one for one in of(graph_of_one, "entities").values() if one == "acme"]) < 50
    with pytest.raises(AssignmentError, match="another was broken off"):
        assign(graph_of_one, wished("true", "zenith"))
    with pytest.raises(AssignmentError, match="rows are half way"):
        run(plan_of(graph_of_one))
    assert assign(graph_of_one, wished(OF_ONE)) == {"entities": 50, "relations": 100}
    assert numbers(of(graph_of_one, "relations"), "acme") == {1}


def test_a_cancel_ends_it_between_two_transactions(
    graph_of_one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assigning, "FIRST", 5)
    batch = assigning._Work._batch

    def cancelled(self: assigning._Work, name: str, rows: list[tuple[Any, ...]]) -> dict[str, int]:
        found = batch(self, name, rows)
        ledger.set_state(self.ground.connection, self.ground.migration, "cancelled")
        return found

    monkeypatch.setattr(assigning._Work, "_batch", cancelled)
    monkeypatch.setattr(assigning, "LARGEST", 1)
    with pytest.raises(CancelledError):
        assign(graph_of_one, wished(OF_ONE))
    assert list(of(graph_of_one, "entities").values()).count("acme") == 5


def test_rows_that_come_meanwhile_go_too(graph_of_one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, came = assigning._Work._batch, list[None]()

    def written(self: assigning._Work, name: str, rows: list[tuple[Any, ...]]) -> dict[str, int]:
        found = batch(self, name, rows)
        if not came:
            came.append(None)
            change(
                graph_of_one,
                "INSERT INTO entities (id, entity_type, tenant_id) VALUES ('e-03', 'late', 'default')",
            )
        return found

    monkeypatch.setattr(assigning._Work, "_batch", written)
    assign(graph_of_one, wished(f"{OF_ONE} OR entity_type = 'late'"))
    assert of(graph_of_one, "entities")["e-03"] == "acme"


def test_a_row_that_somebody_changed_since_it_was_chosen_stays(
    graph_of_one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = assigning._Work._batch

    def changed(self: assigning._Work, name: str, rows: list[tuple[Any, ...]]) -> dict[str, int]:
        change(graph_of_one, "UPDATE entities SET entity_type = 'kept' WHERE id = 'e001'")
        return batch(self, name, rows)

    monkeypatch.setattr(assigning._Work, "_batch", changed)
    # What it would tear is asked before; here nothing names it.
    change(graph_of_one, "DELETE FROM relations")
    assign(graph_of_one, wished(f"{OF_ONE} AND entity_type <> 'kept'"))
    assert of(graph_of_one, "entities")["e001"] == "default"
    assert of(graph_of_one, "entities")["e005"] == "acme"


@pytest.mark.parametrize("index", [None, "(tenant_id)", "(tenant_id, org)", "(org, tenant_id)"])
@pytest.mark.parametrize(
    "key", ["INTEGER PRIMARY KEY)", "TEXT PRIMARY KEY)", "TEXT PRIMARY KEY) WITHOUT ROWID"]
)
def test_each_page_begins_behind_the_last_and_is_read_in_order_without_a_sort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str | None, key: str
) -> None:
    monkeypatch.setattr(assigning, "FIRST", 10)
    monkeypatch.setattr(assigning, "MOST", 10)
    path = tmp_path / "pages.db"
    with application(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"CREATE TABLE notes (org TEXT, id {key}")
        connection.executemany(
            "INSERT INTO notes VALUES (?, ?)", [(f"o{i % 7}", 1000 + i) for i in range(100)]
        )
    more = {"tables": [{"name": "notes", "tenant": {"constant": "default"}}]}
    plan = plan_of(path, **more)
    with conductor.controller(plan) as file:
        conductor.run(plan, file, to="backfill", notify=lambda _line: None)
    if index is not None:
        change(path, f"CREATE INDEX by_tenant ON notes {index}")
    pages: list[str] = []
    with conductor.controller(plan) as file:
        ground = asking.ground(plan, file)
        wish = wished(None)
        begun = shared.begin(ground, asking.prospect(ground, wish).family, wish)
        file.raw.set_trace_callback(
            lambda sent: pages.append(sent) if sent.startswith("SELECT") and "ORDER BY" in sent else None
        )
        assert assigning.carry_out(ground, begun) == {"notes": 100}
        file.raw.set_trace_callback(None)
        # Ten rows or fewer: a page is cut smaller after one that took long.
        pages = [page for page in pages if re.search(r"LIMIT ([1-9]|10)$", page)]
        begin = [int(found[1]) for page in pages if (found := re.search(r"> \('?(\d+)'?\)", page))]
        assert len(begin) >= 10
        assert begin == sorted(begin)
        assert len(set(begin)) == len(begin)
        for page in pages:
            how = [row["detail"] for row in file.rows(f"EXPLAIN QUERY PLAN {page}")]
            assert not [line for line in how if "TEMP B-TREE" in line], page


def test_a_tree_goes_as_a_whole_with_its_topmost_row(tmp_path: Path) -> None:
    path = tmp_path / "folders.db"
    path.touch()
    change(
        path,
        "CREATE TABLE folders (id INTEGER PRIMARY KEY, parent_id int REFERENCES folders (id), name)",
    )
    change(
        path, "INSERT INTO folders VALUES (1, NULL, 'a'), (2, 1, ''), (3, 2, ''), (4, NULL, ''), (5, 4, '')"
    )
    tables = (
        {
            "name": "folders",
            "tenant": {"parent": "folders", "on": {"parent_id": "id"}, "otherwise": "default"},
            "primary_key": ("id", "tenant_id"),
        },
    )
    run(plan_of(path, tables=tables), to="backfill")
    assert assign(path, wished("name = 'a'"), tables=tables) == {"folders": 3}
    told = {int(name): owner for name, owner in of(path, "folders").items()}
    assert told == {1: "acme", 2: "acme", 3: "acme", 4: "default", 5: "default"}


def without_rowid(path: Path) -> dict[str, Any]:
    change(path, "CREATE TABLE pairs (a blob, b int, PRIMARY KEY (b, a)) WITHOUT ROWID")
    change(path, "INSERT INTO pairs VALUES (x'00ff', 1), ('text', 2), (2.5, 2), (7, 3)")
    tables = ({"name": "pairs", "tenant": {"constant": "default"}},)
    run(plan_of(path, tables=tables), to="backfill")
    return {"tables": tables}


def test_a_table_without_rowids_is_told_by_its_key_whatever_type_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pairs.db"
    path.touch()
    more = without_rowid(path)
    monkeypatch.setattr(assigning, "FIRST", 1)
    monkeypatch.setattr(assigning, "MOST", 1)
    assert assign(path, wished("b < 3"), **more) == {"pairs": 3}
    assert assign(path, None, **more) == {"pairs": 3}
    with application(path) as connection:
        assert connection.execute("SELECT count(*) FROM pairs WHERE tenant_id = 'default'").fetchone() == (4,)


@pytest.mark.parametrize(
    ("wish", "error", "told"),
    [
        (wished(OF_ONE, "default"), GivenWrongError, "has its own rows already"),
        (wished(OF_ONE, "not a tenant"), GivenWrongError, "is no tenant"),
        (wished(OF_ONE, "acme\n"), GivenWrongError, "is no tenant"),
        (wished("nowhere = 1"), GivenWrongError, "no such column"),
        (wished("true) OR (true"), GivenWrongError, "one condition"),
        (wished("true; DELETE FROM entities"), GivenWrongError, "one condition"),
        (wished("true --"), GivenWrongError, "one condition"),
        (wished("random() > 0"), GivenWrongError, "random may say something else"),
        (wished("created_at < datetime('now')"), GivenWrongError, "now may say something else"),
        (wished("id ="), GivenWrongError, "SQLite says"),
        (wished("id = 'nobody'"), GivenWrongError, "no row of default"),
        (wished(OF_ONE, "acme", "default", "entitys"), GivenWrongError, "did you mean 'entities'"),
        (wished("id = 'e001'"), AssignmentError, "would go without the other"),
        (
            wished("id = 'r001'", "acme", "default", "relations"),
            AssignmentError,
            "would go without the other",
        ),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_changed(
    graph: Path, wish: Wish, error: type[Exception], told: str
) -> None:
    ready(graph, "filled")
    before = rows_of(graph)
    with pytest.raises(error, match=told):
        assign(graph, wish)
    assert rows_of(graph) == before
    with application(graph) as connection:
        assert connection.execute("SELECT count(*) FROM tenantry_assignments").fetchone() == (0,)


def test_a_key_that_the_other_tenant_has_already_is_refused(graph: Path) -> None:
    ready(graph, "migrated")
    change(graph, "INSERT INTO entities (id, entity_type, tenant_id) VALUES ('e001', 'x', 'acme')")
    with pytest.raises(AssignmentError, match="have a id that acme has too, such as 'e001'"):
        assign(graph, wished(OF_ONE))


def test_a_key_that_the_other_tenant_comes_to_have_stops_it_and_says_so(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(graph, "migrated")
    batch = assigning._Work._batch

    def written(self: assigning._Work, name: str, rows: list[tuple[Any, ...]]) -> dict[str, int]:
        change(graph, "INSERT INTO entities (id, entity_type, tenant_id) VALUES ('e001', 'x', 'acme')")
        return batch(self, name, rows)

    with monkeypatch.context() as patched:
        patched.setattr(assigning._Work, "_batch", written)
        with pytest.raises(AssignmentError, match="has the like of a row"):
            assign(graph, wished(OF_ONE))
    change(graph, "DELETE FROM entities WHERE tenant_id = 'acme' AND entity_type = 'x'")
    assert assign(graph, wished(OF_ONE)) == {"entities": 50, "relations": 100}


def test_before_the_backfill_is_over_no_row_goes(graph: Path) -> None:
    run(plan_of(graph), to="columns")
    with pytest.raises(AssignmentError, match="not every row has its tenant"):
        assign(graph, wished("true"))


def test_no_list_of_ours_stays_in_the_connection_and_nothing_but_the_record_in_the_file(graph: Path) -> None:
    ready(graph, "migrated")
    plan = plan_of(graph)
    with conductor.controller(plan) as file:
        ground = asking.ground(plan, file)
        asking.prospect(ground, wished(OF_ONE))
        assert temporary(file) == 0
    assign(graph, wished(OF_ONE))
    with application(graph) as connection:
        assert connection.execute("SELECT count(*) FROM tenantry_assigned").fetchone() == (150,)


def temporary(file: File) -> int:
    return int(file.value("SELECT count(*) FROM sqlite_temp_schema"))


def test_tenants_are_listed_with_their_rows_and_what_they_wrote_last(graph: Path) -> None:
    ready(graph, "migrated")
    assign(graph, wished(OF_ONE))
    change(graph, "UPDATE entities SET created_at = '2030-01-02 03:04:05' WHERE id = 'e001'")
    plan = plan_of(graph)
    with conductor.controller(plan) as file:
        serving.enable(file, plan, ["acme", "new"])
        found = {one.tenant: one for one in standings(file, plan)}
    assert found["default"].rows == {"entities": 150, "relations": 300}
    assert found["acme"].rows == {"entities": 50, "relations": 100}
    assert found["acme"].last_activity is not None
    assert found["acme"].last_activity.isoformat() == "2030-01-02T03:04:05+00:00"
    assert found["acme"].enabled_since is not None
    assert found["new"].total == 0


def test_before_the_column_is_there_nobody_is_listed(graph: Path) -> None:
    run(plan_of(graph), to="backup")
    plan = plan_of(graph)
    with conductor.controller(plan) as file, pytest.raises(GateClosedError):
        standings(file, plan)


ENABLED = "SELECT EXISTS (SELECT 1 FROM tenantry_enabled WHERE tenant = ?)"


def test_the_application_reads_whom_it_may_treat_as_migrated_in_one_query(graph: Path) -> None:
    run(plan_of(graph), to="columns")
    plan = plan_of(graph)
    with conductor.controller(plan) as file, application(graph) as connection:
        with pytest.raises(GivenWrongError, match="the plan's pattern"):
            serving.enable(file, plan, ["acme", "no tenant"])
        assert serving.disable(file, plan, ["acme"]) == "all of them were disabled before"
        assert serving.enable(file, plan, ["acme", "zenith"]) == "enabled: acme, zenith"
        assert serving.enable(file, plan, ["acme"]) == "all of them were enabled before"
        assert connection.execute(ENABLED, ["acme"]).fetchone() == (1,)
        assert serving.disable(file, plan, ["acme", "other"]) == "disabled: acme"
        assert connection.execute(ENABLED, ["acme"]).fetchone() == (0,)


def test_all_the_way_back_nothing_is_left_of_it(graph: Path) -> None:
    before = contents(graph)
    plan = plan_of(graph)
    ready(graph, "filled")
    with conductor.controller(plan) as file:
        serving.enable(file, plan, ["acme"])
    assign(graph, wished(OF_ONE))
    with conductor.controller(plan) as file:
        conductor.rollback(plan, file, notify=lambda _line: None)
    assert contents(graph) == before


def test_the_command_line_says_to_a_file_what_it_says_to_a_server(
    graph: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ready(graph, "migrated")
    plan = tmp_path / "migration.toml"
    tables = "".join(
        f'[[tables]]\nname = "{name}"\ntenant = {source}\nprimary_key = ["id", "tenant_id"]\n'
        f'indexes = [{{ name = "idx_{name}_tenant", columns = ["tenant_id"] }}]\n'
        for name, source in (
            ("entities", "{ expression = \"properties->>'org_id'\" }"),
            ("relations", '{ parent = "entities", on = { source_id = "id" } }'),
        )
    )
    plan.write_text(
        f'name = "graph"\n[database]\nurl = "sqlite:///{graph}"\n[tenant]\nsentinel = "null"\n{tables}'
    )

    def given(*words: str) -> int:
        return main(["tenants", *words, "-f", str(plan)])

    assert given("assign", "acme", "--where", OF_ONE) == 2
    assert "--yes" in capfd.readouterr().err
    assert given("assign", "acme", "--where", OF_ONE, "--yes", "--workers", "1") == 2
    assert given("assign", "acme", "--where", OF_ONE, "--yes", "--json") == 0
    told = capfd.readouterr().out
    assert json.loads(told[told.index("{\n") :])["rows"] == {"entities": 50, "relations": 100}
    assert given("enable", "acme") == 0
    assert given("list", "--json") == 0
    told = capfd.readouterr().out
    assert [one["tenant"] for one in json.loads(told[told.index("[\n") :])] == ["default", "acme"]
    assert given("assign", "--undo", "--yes") == 0
    assert given("disable", "acme") == 0
    with application(graph) as connection:
        rows = connection.execute("SELECT count(*) FROM entities WHERE tenant_id = 'acme'").fetchone()
    assert rows == (0,)


def test_a_writer_in_the_way_is_waited_for(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(graph, "migrated")
    batch, tried = assigning._Work._batch, list[sqlite3.Connection]()

    def beside(self: assigning._Work, name: str, rows: list[tuple[Any, ...]]) -> dict[str, int]:
        if not tried:
            self.ground.connection.raw.execute("PRAGMA busy_timeout = 10")
            with application(graph) as connection:
                connection.execute("BEGIN IMMEDIATE")
                tried.append(connection)
                return batch(self, name, rows)
        return batch(self, name, rows)

    monkeypatch.setattr(assigning._Work, "_batch", beside)
    assert assign(graph, wished(OF_ONE)) == {"entities": 50, "relations": 100}
