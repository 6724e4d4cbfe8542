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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from control.course import actor, go_on
from control.sqlite.rebuild import checking, copying, estimating, indexing
from control.sqlite.rebuild.making import Making, begin, is_begun, is_done, let_go, making
from control.sqlite.rebuild.pacing import Pace, at_work
from control.sqlite.rebuild.retiring import retire
from control.sqlite.rebuild.sides import Sides
from control.sqlite.rebuild.switching import switch
from control.sqlite.stage import WRITE_LOCK, Ground
from control.sqlite.steps import patiently
from sql.errors import TenantryError
from sql.sqlite.connection import File
from worker import ledger

#: Seconds of write lock that a group of tables may take at once; and after which it is broken off.
SHORT, NEVER = 1.5, 3.5
#: Noted rows that are left for the switch itself; with more than the second it is put off.
_FEW, _TOO_MANY = 200, 2_000
#: Instructions of SQLite's machine between two looks at the clock.
_LOOK_EVERY = 20_000


def go(ground: Ground, sides: Sides, stage: str, *, back: bool) -> None:
    """Bring all tables to the side after, or `back` to the side before.

    Raises:
        CatalogError: a check failed; the tables are as they were.
        CancelledError: the migration is cancelled.
    """
    pace = Pace(ground, stage)
    with at_work(ground.connection):
        for rebuilds in sides.groups():
            group = [
                making(ground.connection, one.back if back else one, migration=ground.migration, back=back)
                for one in rebuilds
            ]
            _clear(ground, group, pace)
            if not all(is_done(ground.connection, one) for one in group):
                _group(ground, group, sides, stage, pace, back=back)
            for one in group:
                _retire(ground, one, pace)
    if pace.longest:
        told = f"longest write lock of {stage}'s batches: {pace.longest * 1000:.0f} ms"
        ledger.record(ground.connection, ground.migration, actor(), "locks", told)
        ground.notify(told)


def discard(ground: Ground, sides: Sides, stage: str, *, back: bool) -> None:
    """Take away what a way that was broken off has left of ours; the tables are as they are."""
    pace = Pace(ground, stage)
    with at_work(ground.connection):
        for one in sides.tables:
            _drop_new(
                ground,
                making(ground.connection, one.back if back else one, migration=ground.migration, back=back),
                pace,
            )


def _group(
    ground: Ground, group: Sequence[Making], sides: Sides, stage: str, pace: Pace, *, back: bool
) -> None:
    names = ", ".join(one.name for one in group)
    pins = [pin.back if back else pin for pin in sides.pins]
    links = () if back else sides.links
    tenant = ground.plan.tenant.column
    file = ground.connection
    if not any(is_begun(file, one) for one in group):
        expected = estimating.seconds(file, group)
        if expected <= SHORT:

            def at_once() -> None:
                for one in group:
                    file.execute(one.bare(after=True, name=one.new))
                    copying.copy_whole(file, one)
                    indexing.create_all(file, one)
                    checking.compare(file, one, noted=False)
                    checking.integrity(file, one.new)
                checking.links_hold(file, group, links, tenant)
                switch(file, group, pins)

            with _not_for_long(file) as broken_off:
                _once(ground, stage, f"{names}: the new keys, at once", at_once)
            if not broken_off():
                return
        ground.notify(f"{names}: too big for one transaction ({expected:.1f} s), so made while others write")

        def both() -> None:
            for one in group:
                begin(file, one)
                copying.record(ground, one)

        _once(ground, stage, f"{names}: the new tables, and what notes the writes", both)
    for one in group:
        ground.notify(f"{one.name}: copying rows")
        copying.fill(ground, one, pace)
        indexing.build(ground, one, pace)
    while True:
        _catch_up(ground, group, pace)
        ground.notify(f"{names}: comparing old and new")
        with file.snapshot():
            for one in group:
                checking.compare(file, one, noted=True)
                checking.integrity(file, one.new)
            checking.links_hold(file, group, links, tenant)
        if _switched(ground, group, sides, stage, names, back=back):
            return


def _switched(
    ground: Ground, group: Sequence[Making], sides: Sides, stage: str, names: str, *, back: bool
) -> bool:
    """The switch; False where more was written meanwhile than may be read again within it."""
    file = ground.connection
    pins = [pin.back if back else pin for pin in sides.pins]
    done = False

    def exchange() -> None:
        nonlocal done
        if any(copying.pending(file, one) > _TOO_MANY for one in group):
            return
        for one in group:
            copying.catch_up(file, one, _TOO_MANY + 1, last=True)
        checking.links_hold(file, group, () if back else sides.links, ground.plan.tenant.column, within=True)
        switch(file, group, pins)
        done = True

    _once(ground, stage, f"{names}: the new tables in the place of the old", exchange)
    return done


def _catch_up(ground: Ground, group: Sequence[Making], pace: Pace) -> None:
    for one in group:
        pace.begin_with(200)
        while copying.pending(ground.connection, one) > _FEW:
            pace.batch(
                f"{one.name}: rows written meanwhile",
                partial(copying.catch_up, ground.connection, one),
            )


def _retire(ground: Ground, one: Making, pace: Pace) -> None:
    retire(ground.connection, one.old, one.was.rowid, pace)
    if not is_begun(ground.connection, one):
        copying.forget(ground, one)


def _clear(ground: Ground, group: Sequence[Making], pace: Pace) -> None:
    """Take away what the way in the other direction has left of these tables, where it was broken off."""
    for one in group:
        other = Making(one.was, one.rebuild.back, one.migration, not one.back)
        _drop_new(ground, other, pace)
        _retire(ground, one, pace)


def _drop_new(ground: Ground, one: Making, pace: Pace) -> None:
    file = ground.connection
    if not is_begun(file, one):
        return
    pace.batch(f"{one.name}: no notes any more", lambda _size: _let_go(file, one))
    for at in range(len(one.coming)):
        name = one.index(at)
        retire(file, name, one.was.rowid, pace)
    retire(file, one.new, one.was.rowid, pace)
    copying.forget(ground, one)


def _let_go(file: File, one: Making) -> int:
    let_go(file, one)
    return 0


def _once(ground: Ground, stage: str, what: str, work: Callable[[], None]) -> None:
    """One transaction with an entry in the audit from before it to after it."""
    go_on(ground, stage)
    file = ground.connection
    event = ledger.begin_statement(
        file, ground.migration, actor(), stage=stage, what=what, statement=what, lock=WRITE_LOCK
    )
    begun, attempts = time.perf_counter(), 0
    try:
        for attempt in patiently(ground, what):
            with attempt:
                attempts += 1
                with file.transaction():
                    work()
    except (TenantryError, sqlite3.Error) as error:
        ledger.end_statement(file, event, error=str(error))
        raise
    waited = time.perf_counter() - begun - file.held
    ledger.end_statement(file, event, attempts=attempts, waited=waited, took=file.held)


@contextmanager
def _not_for_long(file: File) -> Iterator[Callable[[], bool]]:
    """Break off what holds the write lock for too long; whether it was, the body's end tells."""
    over = False

    def look() -> int:
        nonlocal over
        over = over or (file.in_transaction and time.perf_counter() - file.begun > NEVER)
        return int(over)

    file.raw.set_progress_handler(look, _LOOK_EVERY)
    try:
        yield lambda: over
    except sqlite3.OperationalError:
        if not over:
            raise
    finally:
        file.raw.set_progress_handler(None, 0)
