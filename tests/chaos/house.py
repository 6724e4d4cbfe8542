"""A migration under way, each part of it a process of its own, and an application at work."""

import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from pydantic import SecretStr

from control.demo.application_process import ApplicationProcess
from control.demo.messages import Report, Settings
from control.demo.show import PLAN
from tests.chaos.servers import Cluster, Queue
from tests.chaos.service import Service
from tests.chaos.verdict import COUNTING, Blow, Verdict, hold_against
from tests.integration.typist import typed
from tests.waiting import until

#: The graph: so many entities, and twice as many relations.
ENTITIES = 4_000
ROWS = 3 * ENTITIES
#: The application is told of so many: the others it never touches, nor relations between them.
OWNED = 2_800
#: Seconds that the backfill takes at its pace; longer where a fault needs it.
PACED = 60.0
#: Operations a second, over four connections.
_RATE = 100.0
#: Shares of the rows at which faults strike. What the application deletes is no part of the batches in the
#: end, so these are a little less than shares of the batches.
_FIRST, _LAST = 0.14, 0.72
#: How long anything may take here before a test gives up; seconds.
PATIENCE = 240.0

_DONE = "SELECT coalesce(sum(rows), 0)::int, count(*)::int FROM tenantry.batches WHERE state = 'done'"
_WORKERS = (
    "SELECT DISTINCT split_part(split_part(application_name, ' ', 3), '@', 1)::int FROM pg_stat_activity "
    "WHERE application_name LIKE 'tenantry worker %'"
)
_CONTROLLERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tenantry controller'"


@dataclass
class House:
    """What a fault can strike, and what it struck so far."""

    fault: str
    seed: int
    folder: Path
    cluster: Cluster
    queue: Queue
    url: str
    application: ApplicationProcess
    begun: float
    chance: random.Random
    services: ExitStack
    runs: list[Service] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)
    _looking: psycopg.Connection | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Where servers are, for commands."""
        return os.environ | {"DATABASE_URL": self.url, "TENANTRY_REDIS_URL": self.queue.url}

    def ask(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Ask the server, whenever it answers; on one connection for as long as that lasts."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self._looking is None or self._looking.closed:
                    self._looking = psycopg.connect(
                        self.url, autocommit=True, connect_timeout=5, application_name="chaos"
                    )
                cursor = self._looking.execute(query.encode(), parameters)
                return cursor.fetchall() if cursor.description is not None else []
            except psycopg.OperationalError:
                if self._looking is not None:
                    self._looking.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.close()

    def work(self, count: int = 2, **environment: str) -> Service:
        """Have a service of so many workers."""
        given = self.environment | environment
        worker = Service(["worker", "--workers", str(count)], folder=self.folder, environment=given)
        self.services.callback(worker.close)
        return worker

    def run(self, *, over: frozenset[int] = frozenset({0}), **environment: str) -> Service:
        """Have a service that takes the backfill to its end."""
        arguments = ["run", "--to", "backfill"]
        given = self.environment | environment
        run = Service(arguments, folder=self.folder, environment=given, over=over)
        self.services.callback(run.close)
        self.runs.append(run)
        return run

    def tenantry(self, *arguments: str) -> tuple[int, str]:
        """Type a command; its exit status, and what it complained of."""
        ended = typed(arguments, folder=self.folder, environment=self.environment)
        return ended.returncode, ended.stderr

    def workers(self) -> list[int]:
        """The worker processes that have a connection and are alive."""
        return sorted(pid for (pid,) in self.ask(_WORKERS) if _is_alive(pid))

    def controllers(self) -> list[int]:
        """The server's processes for controllers."""
        return [pid for (pid,) in self.ask(_CONTROLLERS)]

    def share(self) -> float:
        """The share of the rows of the beginning that batches have done."""
        return float(self.ask(_DONE)[0][0]) / ROWS

    def done(self) -> int:
        """How many batches are done."""
        return int(self.ask(_DONE)[0][1])

    def reach(self, share: float) -> None:
        """Wait until a share of the rows is done."""

        def reached() -> bool:
            assert not all(run.is_over for run in self.runs), f"the run ended before {share:.0%}"
            return self.share() >= share

        until(reached, f"{share:.0%} of the rows", within=PATIENCE)

    def strike(
        self, times: int, blow: Callable[[], object], *, last: float = _LAST, first: float = _FIRST
    ) -> None:
        """Strike so often, each time at a share of the rows that chance chose."""
        width = (last - first) / times
        for nth in range(times):
            self.reach(first + width * (nth + self.chance.random()))
            before = self.done()
            blow()
            self.blows.append(Blow(before, self.done()))

    def end(self) -> Verdict:
        """Wait until the run has ended by itself, stop the application, and hold all against its promises."""
        until(lambda: all(run.is_over for run in self.runs), "the run to end by itself", within=PATIENCE)
        return self.verdict(self.application.stop())

    def verdict(self, application: Report) -> Verdict:
        """Hold all against its promises, once run and application have ended."""
        return hold_against(
            self.url,
            self.folder / "journal",
            entities=ENTITIES,
            application=application,
            blows=self.blows,
            fault=self.fault,
            seed=self.seed,
            seconds=time.monotonic() - self.begun,
            starts=sum(len(run.ended) for run in self.runs),
        )


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def plan_text(seconds: float, more: str = "") -> str:
    """The demo's plan, paced so that its backfill takes so long."""
    text = PLAN.read_text().replace('standbys = ["env:STANDBY_URL"]\n', "")
    # One superuser in the place of the plan's roles, as in the demo.
    text = re.sub(r"^\[(roles|verify)\][^\[]*", "", text, flags=re.MULTILINE)
    return (
        f'{text}\n[backfill]\nfirst_batch = 100\npaging = "pages"\n'
        f"[governor]\nrows_per_second = {round(ROWS / seconds)}\n{more}"
    )


@contextmanager
def house(
    fault: str,
    seed: int,
    folder: Path,
    cluster: Cluster,
    queue: Queue,
    *,
    seconds: float = PACED,
    url: str | None = None,
    application_url: str | None = None,
    before: Callable[[psycopg.Connection], object] = lambda _connection: None,
) -> Iterator[House]:
    """A migration with its columns and guard on record, an application at work; nobody works at it yet.

    `before` is done to the database just before the backfill.
    """
    (folder / "migration.toml").write_text(plan_text(seconds))
    settings = Settings(
        url=SecretStr(application_url or cluster.url("graph_app")),
        folder=folder / "journal",
        entities=OWNED,
        rate=_RATE,
        seed=seed,
    )
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        # Before the application begins: a row that it writes while the guard is there has its tenant.
        connection.execute(COUNTING.encode())
    with ExitStack() as stack:
        application = stack.enter_context(ApplicationProcess(settings))
        services = stack.enter_context(ExitStack())
        made = House(
            fault,
            seed,
            folder,
            cluster,
            queue,
            url or cluster.url(),
            application,
            time.monotonic(),
            random.Random(f"{seed} {fault}"),
            services,
        )
        stack.callback(made.close)
        status, complaint = made.tenantry("run", "--to", "columns")
        assert status == 0, complaint
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            for table in ("graph_entities", "graph_relations"):
                connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
            before(connection)
        yield made
