"""A rehearsal of a file's migration, and what the command line says to files."""

import json
from pathlib import Path

import pytest

from control.cli import main
from control.rehearsal import on_copy
from control.sqlite import backup, rehearsal
from control.timings import beside, latest
from sql.errors import GivenWrongError
from sql.sqlite.connection import connect
from tests.integration.operating import nobody
from tests.integration.sqlite.graph_plan import PLAN, contents, plan_of, run
from tests.integration.sqlite.test_backup import schema
from worker import ledger

TOML = """
name = "graph"
[database]
url = "sqlite:///{graph}"
[backup]
path = "{backup}"
[tenant]
sentinel = "null"
[verify]
quiet = "1h"
[[tables]]
name = "entities"
tenant = {{ constant = "default" }}
indexes = [{{ name = "idx_entities_tenant", columns = ["tenant_id"] }}]
[[tables]]
name = "relations"
tenant = {{ constant = "default" }}
"""


@pytest.fixture
def written(graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plan as a file, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "migration.toml"
    path.write_text(TOML.format(graph=graph, backup=tmp_path / "before.db"))
    return path


def test_a_rehearsal_leaves_the_file_alone_and_its_timings_beside_the_backup(
    graph: Path, tmp_path: Path
) -> None:
    path, copy = tmp_path / "before.db", tmp_path / "copy.db"
    backup.copy(f"sqlite:///{graph}", path, schema(graph))
    before = contents(graph)
    plan = plan_of(graph, backup={"path": str(path)}, verify={}, tables=CONSTANT)
    told = rehearsal.rehearse(plan, f"sqlite:///{copy}", notify=nobody)
    assert contents(graph) == before
    assert told.file == beside(path)
    assert [one.stage for one in told.timings.stages][-3:] == ["application", "keys", "verify"]
    assert told.timings.rows == {"entities": 200, "relations": 400}
    assert sum(one.disk_bytes for one in told.timings.stages) > 0
    with connect(f"sqlite:///{copy}") as file:
        assert ledger.read(file, "graph").state == "complete"


CONSTANT = (
    {
        "name": "entities",
        "tenant": {"constant": "default"},
        "indexes": ({"name": "idx_entities_tenant", "columns": ("tenant_id",)},),
    },
    {"name": "relations", "tenant": {"constant": "default"}},
)


def test_a_migration_that_has_begun_keeps_its_rehearsal_in_the_ledger(graph: Path, tmp_path: Path) -> None:
    path = tmp_path / "before.db"
    plan = plan_of(graph, backup={"path": str(path)}, tables=CONSTANT)
    run(plan, to="backup")
    rehearsal.rehearse(plan, f"sqlite:///{tmp_path / 'copy.db'}", notify=nobody)
    beside(path).unlink()
    with connect(f"sqlite:///{graph}") as file:
        memory = ledger.Memory(file, ledger.read(file, "graph").id)
        assert latest(plan, memory) is not None


@pytest.mark.parametrize("name", ["graph.db", "./graph.db", "../{folder}/graph.db", "link.db"])
def test_a_file_is_not_rehearsed_on_itself_whatever_it_is_called(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(graph)
    path = tmp_path / "before.db"
    backup.copy(f"sqlite:///{graph}", path, schema(graph))
    into = f"sqlite:///{name.format(folder=tmp_path.name)}"
    with pytest.raises(GivenWrongError, match="the plan's own file"):
        rehearsal.rehearse(plan_of(graph, backup={"path": str(path)}), into, overwrite=True, notify=nobody)


def test_the_copy_waits_for_nobodys_quiet(graph: Path) -> None:
    plan = plan_of(graph, verify={"quiet": "12h"})
    assert on_copy(plan, "sqlite:///copy.db").verify.quiet == "1s"
    assert PLAN["verify"] != plan.verify


def test_backup_rehearse_verify_and_restore_are_said_to_a_file_as_to_a_server(
    written: Path, graph: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(graph)
    assert main(["backup", "--json"]) == 0
    taken = json.loads(capfd.readouterr().out)
    assert taken["path"].endswith("before.db")
    assert main(["rehearse", "--into", "sqlite:///copy.db"]) == 0
    assert "kept in" in capfd.readouterr().out
    assert main(["verify"]) == 2
    assert main(["run", "--to", "backfill"]) == 0
    assert main(["verify", "--json"]) == 1
    told = capfd.readouterr()
    assert any(
        check["name"] == "entities: indexes are there" and not check["ok"]
        for check in json.loads(told.out[told.out.index("[\n") :])
    )
    assert main(["backup"]) == 2
    assert "VACUUM INTO" in capfd.readouterr().err
    assert main(["restore", "before.db"]) == 2
    assert "--overwrite" in capfd.readouterr().err
    assert main(["restore", "before.db", "--overwrite"]) == 0
    assert contents(graph) == before
    assert written.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["restore", "before.db", "--into", "sqlite:///new.db", "--jobs", "2"],
        ["rehearse", "--into", "sqlite:///new.db", "--workers", "2"],
        ["rehearse", "--into", "postgresql://nowhere/db"],
        ["rehearse", "--into", "sqlite://new.db"],
        ["restore", "nothing.db"],
    ],
)
@pytest.mark.usefixtures("written")
def test_what_can_not_be_for_a_file_is_given_wrong(arguments: list[str], tmp_path: Path) -> None:
    assert main(["backup"]) == 0
    assert main(arguments) == 2
    assert not (tmp_path / "new.db").exists()
