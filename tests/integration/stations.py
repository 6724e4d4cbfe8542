"""A whole migration walked stage by stage, there and back, and what each stage leaves."""

from dataclasses import dataclass, field

from control import conductor
from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.queue import namespace_of
from control.rollback import rollback
from control.status import STAGES
from sql.postgres.connection import connect
from tests.integration.rows import rows_of
from tests.integration.worker_threads import worker_threads
from worker import ledger
from worker.broker import doorbell

#: What a place leaves: the schema without the ledger's, and the rows.
Left = tuple[str, dict[str, tuple[int, str | None]]]

#: The place before the first stage.
START = "start"
PLACES = (START, *STAGES)

_WITHOUT_KEY_INDEX = ("indexes", "application")


@dataclass
class Journey:
    """A migration that is somewhere between the start and `verify`."""

    plan: Plan
    url: str
    queue: str
    server: EmbeddedPostgres
    left: dict[str, Left] = field(default_factory=dict)
    at: str = START
    _keys_went: bool = False
    _filled: bool = False

    def look(self) -> Left:
        """The schema and the rows as they are."""
        dumped = self.server.run(
            "pg_dump", "--schema-only", "--restrict-key=x", "--exclude-schema=tenantry", self.url
        )
        return dumped.stdout, rows_of(self.url)

    def all_the_way(self) -> None:
        """To the end, and keep what each stage leaves."""
        self.left[START] = self.look()
        for stage in STAGES:
            self.there(stage)
            self.left[stage] = self.look()

    def there(self, stage: str) -> None:
        """Run as far as a stage."""
        if stage == START:
            return
        space = namespace_of(self.plan)
        with (
            conductor.controller(self.plan) as connection,
            worker_threads(1, url=self.url, queue=self.queue, namespace=space),
        ):
            bell = doorbell(self.queue, space)
            needed = STAGES.index(stage) >= STAGES.index("application")
            if needed and ledger.find(connection, self.plan.name) is None:
                conductor.run(self.plan, connection, bell, to="indexes", throttle=False, notify=nobody)
            if needed:
                conductor.confirm(self.plan, connection, "application")
            conductor.run(self.plan, connection, bell, to=stage, throttle=False, notify=nobody)
        self.at = stage
        self._filled |= PLACES.index(stage) >= PLACES.index("backfill")
        if PLACES.index(stage) >= PLACES.index("keys"):
            self._keys_went = False

    def back(self, place: str) -> None:
        """Walk back to a stage, or to the start."""
        if place == self.at:
            return
        with conductor.controller(self.plan) as connection:
            rollback(self.plan, connection, to=None if place == START else place, notify=nobody)
        self._keys_went |= PLACES.index(self.at) >= PLACES.index("keys")
        self._keys_went &= PLACES.index(place) >= PLACES.index("indexes")
        self._filled &= PLACES.index(place) >= PLACES.index("columns")
        self.at = place

    def looks_as_it_did(self, place: str) -> bool:
        """Whether it is as the way there left it when it first came to this place.

        The unique index of a new key goes with the key on the way back, for two unique keys side by side make
        concurrent upserts fail. So two places are left without it, and have it again once the keys do. And
        the rows that were filled keep their tenants as long as the column stays.
        """
        schema, rows = self.look()
        if self._keys_went and place in _WITHOUT_KEY_INDEX:
            return schema != self.left[place][0] and rows == self.left[place][1]
        filled = self.left["backfill" if self._filled and place == "columns" else place]
        return (schema, rows) == (self.left[place][0], filled[1])

    def is_on_record(self) -> bool:
        """Whether the ledger knows of it."""
        with connect(self.url, "test") as connection:
            return ledger.exists(connection)


def nobody(_line: str) -> None:
    """Nobody listens."""
