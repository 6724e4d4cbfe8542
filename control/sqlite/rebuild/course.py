"""The way of tables to their other side: in one transaction where that is short, else while everybody works.

Each step finds out from the file whether it is done, so that whoever is killed anywhere goes on by doing the
same again:

1. the new table, empty, and the triggers that note which rows are written from now on;
2. the rows, in batches;
3. the indexes on the new table;
4. the noted rows read again, until they are few;
5. every value compared, foreign keys, and SQLite's own check, in a snapshot that keeps nobody waiting;
6. the last noted rows and the switch, in one transaction for all tables that hang together;
7. the old table emptied and dropped.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from control.course import actor, go_on
from control.sqlite.rebuild import checking, copying, estimating, indexing
from control.sqlite.rebuild.making import Making, begin, is_begun, is_done, let_go, making
from control.sqlite.rebuild.pacing import Pace, at_work, durably, not_longer_than
from control.sqlite.rebuild.retiring import retire
from control.sqlite.rebuild.sides import Link, Pin, Rebuild, Sides
from control.sqlite.rebuild.switching import switch
from control.sqlite.stage import WRITE_LOCK, Ground
from control.sqlite.steps import patiently
from sql.errors import TenantryError
from sql.sqlite import rebuild
from sql.sqlite.connection import SCHEME, File, connect
from sql.sqlite.rebuild import STATEMENTS
from worker import audit

#: Seconds of write lock that a group of tables may take at once; and after which it is broken off.
SHORT, NEVER = indexing.SHORT, 3.5
#: Noted rows that are left for the switch itself; with more than the second it is put off.
_FEW, _TOO_MANY = 200, 2_000


@dataclass(frozen=True, slots=True)
class _Way:
    """A group of tables on its way."""

    ground: Ground
    stage: str
    pace: Pace
    group: tuple[Making, ...]
    pins: tuple[Pin, ...]
    links: tuple[Link, ...]

    @property
    def file(self) -> File:
        """The run's connection."""
        return self.ground.connection

    @property
    def names(self) -> str:
        """The tables, for whoever watches."""
        return ", ".join(one.name for one in self.group)


def go(ground: Ground, sides: Sides, stage: str, *, back: bool) -> None:
    """Bring all tables to the side after, or `back` to the side before.

    Raises:
        CatalogError: a check failed; the tables are as they were.
        CancelledError: the migration is cancelled.
    """
    pace = Pace(ground, stage)
    groups = list(sides.groups())
    with at_work(ground.connection):
        for rebuilds in groups:
            group = _makings(ground, rebuilds, back=back)
            # What names no columns means the old key: on the way back only once every table has it again.
            pins = sides.pins if not back else tuple(pin.back for pin in sides.pins if rebuilds == groups[-1])
            # Without the tenant a foreign key can't cross.
            way = _Way(ground, stage, pace, group, pins, () if back else sides.links)
            _clear(way)
            if not all(is_done(ground.connection, one) for one in group):
                _through(way)
            for one in group:
                _retire(ground, one, pace)
    if pace.longest:
        told = f"longest write lock of {stage}'s batches: {pace.longest * 1000:.0f} ms"
        audit.record(ground.connection, ground.migration, actor(), "locks", told)
        ground.notify(told)


def discard(ground: Ground, sides: Sides, stage: str, *, back: bool) -> None:
    """Take away what a way that was broken off has left of ours; the tables are as they are."""
    pace = Pace(ground, stage)
    with at_work(ground.connection):
        for one in _makings(ground, sides.tables, back=back):
            _drop_new(ground, one, pace)


def _makings(ground: Ground, rebuilds: Sequence[Rebuild], *, back: bool) -> tuple[Making, ...]:
    return tuple(
        making(ground.connection, one.back if back else one, migration=ground.migration, back=back)
        for one in rebuilds
    )


def _through(way: _Way) -> None:
    if not any(is_begun(way.file, one) for one in way.group):
        expected = estimating.seconds(way.file, way.group)
        if expected <= SHORT and _at_once(way):
            return
        way.ground.notify(
            f"{way.names}: too big for one transaction ({expected:.1f} s), so made while others write"
        )
        _once(way, "the new tables, and what notes the writes", partial(_begin, way))
    for one in way.group:
        way.ground.notify(f"{one.name}: copying rows")
        copying.fill(way.ground, one, way.pace)
        _level(way, one)
        indexing.build(way.ground, one, way.pace)
    while True:
        _catch_up(way, way.group)
        way.ground.notify(f"{way.names}: comparing old and new")
        version = rebuild.version(way.file)
        _check_beside_writers(way)
        if _once(way, "the new tables in the place of the old", partial(_exchanged, way, version)):
            return


def _at_once(way: _Way) -> bool:
    """All of it in one transaction, at its turn; False where that would have held the lock for too long."""

    def all_of_it() -> bool:
        for one in way.group:
            way.file.execute(one.bare(after=True, name=one.new))
            copying.copy_whole(way.file, one)
            indexing.create_all(way.file, one)
        _check(way, way.file, noted=False)
        for one in way.group:
            checking.integrity(way.file, one.new)
        switch(way.file, way.group, way.pins)
        return True

    way.pace.turn()
    with not_longer_than(way.file, NEVER) as broken_off:
        _once(way, "the new keys, at once", all_of_it)
    return not broken_off()


def _begin(way: _Way) -> bool:
    for one in way.group:
        begin(way.file, one)
        copying.record(way.ground, one)
    return True


def _check(way: _Way, file: File, *, noted: bool) -> None:
    for one in way.group:
        checking.compare(file, one, noted=noted)
    checking.links_hold(file, way.group, way.links, way.ground.plan.tenant.column)


def _check_beside_writers(way: _Way) -> None:
    """Every check at once, in two snapshots: nobody but us writes to the new tables, and we wait.

    SQLite's own check takes as long as all the others: it has a connection, and a core, of its own.
    """
    with connect(f"{SCHEME}{way.file.path.absolute()}") as beside, ThreadPoolExecutor(1) as other:
        sound = other.submit(_sound, way, beside)
        try:
            with way.file.snapshot():
                _check(way, way.file, noted=True)
        except BaseException:
            beside.raw.interrupt()
            raise
        sound.result()


def _sound(way: _Way, file: File) -> None:
    file.rows(STATEMENTS.more_memory.filled())
    with file.snapshot():
        for one in way.group:
            checking.integrity(file, one.new)


def _exchanged(way: _Way, version: int) -> bool:
    """The switch; False where more was written meanwhile than may be read again within it, or not noted.

    VACUUM may give rows other rowids, and nothing notes that: it shows in the schema's version.
    """
    if rebuild.version(way.file) != version:
        return False
    if any(copying.pending(way.file, one) > _TOO_MANY for one in way.group):
        return False
    for one in way.group:
        copying.catch_up(way.file, one, _TOO_MANY + 1, last=True)
    # All but these rows were looked at before, in the snapshot.
    tenant = way.ground.plan.tenant.column
    checking.links_hold(way.file, way.group, way.links, tenant, within=True)
    switch(way.file, way.group, way.pins)
    return True


def _level(way: _Way, one: Making) -> None:
    """Have the new table as the old one is at one moment, before its first index is begun.

    Rows were copied at different moments, and a value that went from one to another may be in both: nothing
    unique could be built on that. From then on nobody touches the table until all of its indexes are there.
    """
    if indexing.is_begun(way.file, one):
        return
    _catch_up(way, [one])
    way.pace.batch(f"{one.name}: rows written meanwhile", lambda _size: copying.catch_up(way.file, one, -1))


def _catch_up(way: _Way, group: Sequence[Making]) -> None:
    for one in group:
        way.pace.begin_with(200)
        while copying.pending(way.file, one) > _FEW:
            way.pace.batch(f"{one.name}: rows written meanwhile", partial(copying.catch_up, way.file, one))


def _retire(ground: Ground, one: Making, pace: Pace) -> None:
    retire(ground.connection, one.old, one.was.rowid, pace)
    if not is_begun(ground.connection, one):
        copying.forget(ground, one)


def _clear(way: _Way) -> None:
    """Take away what the way in the other direction has left of these tables, where it was broken off."""
    for one in way.group:
        other = Making(one.was, one.rebuild.back, one.migration, not one.back)
        _drop_new(way.ground, other, way.pace)
        _retire(way.ground, one, way.pace)


def _drop_new(ground: Ground, one: Making, pace: Pace) -> None:
    file = ground.connection
    if not is_begun(file, one):
        return
    pace.batch(f"{one.name}: no notes any more", lambda _size: _let_go(file, one))
    for at in range(len(one.coming)):
        name = one.index(at)
        if rebuild.kind_of(file, name) == "table":  # its entries; once it is an index it goes with its table
            retire(file, name, one.was.rowid, pace)
    retire(file, one.new, one.was.rowid, pace)
    copying.forget(ground, one)


def _let_go(file: File, one: Making) -> int:
    let_go(file, one)
    return 0


def _once(way: _Way, told: str, work: Callable[[], bool]) -> bool:
    """One transaction with an entry in the audit from before it to after it; what the work says."""
    ground, stage, file, what = way.ground, way.stage, way.file, f"{way.names}: {told}"
    go_on(ground, stage)
    event = audit.begin_statement(
        file, ground.migration, actor(), stage=stage, what=what, statement=what, lock=WRITE_LOCK
    )
    begun, attempts, said = time.perf_counter(), 0, False
    try:
        for attempt in patiently(ground, what):
            with attempt:
                attempts += 1
                with durably(file), file.transaction():
                    said = work()
    except (TenantryError, sqlite3.Error) as error:
        audit.end_statement(file, event, error=str(error))
        raise
    waited = time.perf_counter() - begun - file.held
    audit.end_statement(file, event, attempts=attempts, waited=waited, took=file.held)
    return said
