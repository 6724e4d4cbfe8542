"""The keys are exchanged, there and back, while an application writes: nothing fails and nothing is lost."""

import random
import threading
from dataclasses import dataclass, field

import psycopg

from control.embedded.postgres import EmbeddedPostgres
from control.locks import take
from control.plan.model import Plan
from control.stages import columns, keys
from sql.postgres.connection import connect
from tests.integration.walking import FILL_SAMPLE, SAMPLE, Walker
from tests.waiting import until

WRITERS = 4
#: Operations of each writer before, between and after the two walks.
BETWEEN = 25

ORPHANS = """
SELECT count(*) FROM graph_relations AS r
LEFT JOIN graph_entities AS s ON (s.id, s.tenant_id) = (r.source_id, r.tenant_id)
LEFT JOIN graph_entities AS t ON (t.id, t.tenant_id) = (r.target_id, r.tenant_id)
WHERE s.id IS NULL OR t.id IS NULL
"""


@dataclass
class Writer:
    """Inserts pairs of entities with a relation, changes them, and deletes every other with its cascades.

    Each operation is tried once. `there` holds the relations that were acknowledged and not deleted, `gone`
    the entities that were.
    """

    url: str
    number: int
    stop: threading.Event = field(default_factory=threading.Event)
    there: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    operations: int = 0
    error: psycopg.Error | None = None

    def run(self) -> None:
        """Until told to stop, or until an error."""
        choice = random.Random(self.number)
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                while not self.stop.is_set():
                    self._write(connection, f"{self.number}-{self.operations}", delete=choice.random() < 0.5)
                    self.operations += 1
        except psycopg.Error as error:
            self.error = error

    def _write(self, connection: psycopg.Connection, name: str, *, delete: bool) -> None:
        named = {"a": f"{name}-a", "b": f"{name}-b", "r": f"{name}-r", "tenant": f"tenant {self.number}"}
        connection.execute(
            "INSERT INTO graph_entities (id, entity_type, tenant_id) "
            "VALUES (%(a)s, 'new', %(tenant)s), (%(b)s, 'new', %(tenant)s)",
            named,
        )
        connection.execute(
            "INSERT INTO graph_relations (id, relation_type, source_id, target_id, tenant_id) "
            "VALUES (%(r)s, 'new', %(a)s, %(b)s, %(tenant)s)",
            named,
        )
        connection.execute("UPDATE graph_entities SET entity_type = 'changed' WHERE id = %(a)s", named)
        if delete:
            connection.execute("DELETE FROM graph_entities WHERE id = %(a)s", named)
            self.gone.add(named["a"])
        else:
            self.there.add(named["r"])


def test_no_write_fails_or_is_lost_and_no_edge_loses_its_end(sample: str, postgres: EmbeddedPostgres) -> None:
    with connect(sample, "test") as connection:
        walker = Walker(connection, Plan.model_validate(SAMPLE), postgres)
        walker.there(columns.STAGE)
        connection.execute(FILL_SAMPLE)
        writers = [Writer(sample, number) for number in range(WRITERS)]
        threads = [threading.Thread(target=writer.run) for writer in writers]
        for thread in threads:
            thread.start()
        try:
            _let_write(writers)
            for steps in (keys.STAGE.steps, keys.STAGE.undo):
                for step in steps(walker.plan, walker.original):
                    if not step.done(walker.live()):
                        take(connection, step, notify=lambda _: None)
                _let_write(writers)
                assert connection.execute(ORPHANS).fetchone() == (0,)
        finally:
            for writer, thread in zip(writers, threads, strict=True):
                writer.stop.set()
                thread.join()
        there = {
            key for (key,) in connection.execute("SELECT id FROM graph_relations WHERE relation_type = 'new'")
        }
        entities = {key for (key,) in connection.execute("SELECT id FROM graph_entities")}
    assert [writer.error for writer in writers] == [None] * WRITERS
    assert there == set[str]().union(*(writer.there for writer in writers))
    assert not entities & set[str]().union(*(writer.gone for writer in writers))


def _let_write(writers: list[Writer]) -> None:
    """Wait until every writer has done so many operations more, or has failed."""
    goals = [writer.operations + BETWEEN for writer in writers]
    until(
        lambda: all(w.error or w.operations >= goal for w, goal in zip(writers, goals, strict=True)),
        "every writer to write on",
    )
