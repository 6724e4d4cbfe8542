"""The seed, what every fault begins from, and the table at the end."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from control.demo import sample
from control.embedded.postgres import EmbeddedPostgres
from tests.chaos.house import ENTITIES, House, house
from tests.chaos.servers import Cluster, Queue, cluster, queue_server
from tests.chaos.table import lines
from tests.chaos.verdict import Verdict

_PROPERTY = "chaos"

#: What a test calls to have a house, with `house`'s own keywords; and with what came of it.
Build = Callable[..., AbstractContextManager[House]]
Tell = Callable[..., None]


def pytest_configure() -> None:
    """One seed for all processes: that of the environment, or the time."""
    os.environ.setdefault("SEED", str(int(time.time()) % 1_000_000))


def pytest_report_header() -> str:
    return f"chaos: SEED={os.environ['SEED']}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `SOME=n` so many faults, which the seed chooses; none that needs rights over the machine."""
    some = os.environ.get("SOME")
    ours = sorted((item for item in items if item.get_closest_marker("chaos")), key=lambda item: item.name)
    if not some or not ours:
        return
    able = [item for item in ours if "disk_full" not in item.name and "verdict" not in item.name]
    chosen = random.Random(int(os.environ["SEED"])).sample(able, int(some))
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture(scope="session")
def graph(postgres: EmbeddedPostgres) -> EmbeddedPostgres:
    """A server with the graph, from which every test's own server is copied."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE graph")
    with psycopg.connect(postgres.url("graph"), autocommit=True) as connection:
        sample.create(connection)
        sample.fill(connection, entities=ENTITIES)
        connection.execute("VACUUM ANALYZE")
    return postgres


@pytest.fixture
def settings() -> Mapping[str, str]:
    """What the server is set to beside what all are."""
    return {}


@pytest.fixture
def server(graph: EmbeddedPostgres, settings: Mapping[str, str]) -> Iterator[Cluster]:
    """A server of the test's own, with the graph."""
    with cluster("primary", graph, settings) as made:
        yield made


@pytest.fixture
def queue() -> Iterator[Queue]:
    """A queue server of the test's own."""
    with queue_server() as made:
        yield made


@pytest.fixture
def build(request: pytest.FixtureRequest, tmp_path: Path, server: Cluster, queue: Queue) -> Build:
    """Makes the house of a test; what the services said is shown where it fails."""
    fault = str(request.node.originalname).removeprefix("test_")

    @contextmanager
    def built(**options: object) -> Iterator[House]:
        with ExitStack() as stack:
            made = stack.enter_context(
                house(fault, int(os.environ["SEED"]), tmp_path, server, queue, **options)  # type: ignore[arg-type]
            )
            try:
                yield made
            except BaseException:
                for log in sorted(tmp_path.glob("*.log")):
                    print(f"--- {log.name}", log.read_text(errors="replace")[-3000:], sep="\n")  # noqa: T201
                raise

    return built


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Puts a verdict into the table, and fails where anything is not as promised.

    The application sees no error, unless the fault is one of its own server (`servers_own`).
    """

    def told(verdict: Verdict, *, servers_own: bool = False) -> None:
        record_property(_PROPERTY, json.dumps(verdict.as_json()))
        assert not verdict.problems
        assert servers_own or verdict.errors == 0

    return told


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, of every fault that came to its end."""
    told = [
        json.loads(str(value))
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]
    if told:
        terminalreporter.section(f"chaos, SEED={os.environ['SEED']}")
        for line in lines(told):
            terminalreporter.write_line(line)
