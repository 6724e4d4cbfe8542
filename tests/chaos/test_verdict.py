"""What is broken after a run is seen: nothing that the other tests say would hold of anything."""

import psycopg
import pytest

from tests.chaos.conftest import Build
from tests.chaos.house import PATIENCE
from tests.chaos.servers import Cluster
from tests.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

#: Each thing that is not as promised, and how it is told.
_BROKEN = (
    ("UPDATE graph_relations SET tenant_id = 'somebody' WHERE id LIKE '%1'", "under another tenant"),
    ("INSERT INTO updates_seen SELECT * FROM updates_seen WHERE by_worker LIMIT 1", "more than once"),
    (
        """DELETE FROM updates_seen
        WHERE id = (SELECT id FROM graph_relations WHERE id LIKE 'relation-%' LIMIT 1)""",
        "updated by nobody",
    ),
    ("DELETE FROM tenantry.batches WHERE id = (SELECT min(id) + 9 FROM tenantry.batches)", "ranges, to"),
    (
        "UPDATE tenantry.batches SET state = 'pending' WHERE id = (SELECT min(id) FROM tenantry.batches)",
        "left",
    ),
    ("UPDATE graph_entities SET properties = properties - 'source' WHERE id LIKE 'live-%'", "entity values"),
    ("DELETE FROM graph_entities WHERE id LIKE 'live-%'", "entities there"),
)


def test_verdict(build: Build, server: Cluster) -> None:
    with build(seconds=8) as there, psycopg.connect(server.url()) as breaking:
        there.work()
        there.run()
        there.strike(1, lambda: None, last=0.5)
        until(lambda: all(run.is_over for run in there.runs), "the run to end", within=PATIENCE)
        application = there.application.stop()
        assert there.verdict(application).problems == ()
        for statement, told in _BROKEN:
            breaking.execute(statement.encode())
            breaking.commit()
            assert any(told in problem for problem in there.verdict(application).problems), told
