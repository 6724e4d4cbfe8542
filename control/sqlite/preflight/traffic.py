"""Who is at work on the file now: writers, readers that hold up the WAL, journals that were left."""

import os
from collections.abc import Iterator
from pathlib import Path

from control.preflight.finding import Finding
from control.sqlite.preflight.openers import openers
from control.sqlite.stage import Ground
from sql.sqlite import preflight
from sql.sqlite.preflight import Settings

#: A WAL of so many bytes that can't be moved into the file is worth a warning.
_MUCH = 4 * 1024**2
#: How a rollback journal begins whose transaction was not ended (sqlite.org/fileformat2.html, section 3).
_JOURNAL = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"


def look(ground: Ground) -> Iterator[Finding]:
    """Every fact about the others."""
    path = ground.connection.path
    yield _rights(path)
    yield _open(path)
    kept = preflight.settings(ground.connection)
    journal = _journal(path, kept)
    yield journal
    if journal.level != "stop":
        # Else our own look for writers would be the connection that plays it back.
        yield _writers(free=preflight.may_write_now(ground.connection))
    yield _log(ground, kept)


def _rights(path: Path) -> Finding:
    missing = [
        str(place)
        for place in (path, path.absolute().parent)
        if not os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    ]
    if missing:
        way_out = "let this user write it: the journal, or WAL, is a file beside the database"
        return Finding("stop", "rights", f"{', '.join(missing)} can't be written", way_out)
    return Finding("pass", "rights", "file and folder can be written")


def _open(path: Path) -> Finding:
    found = openers(path)
    if found is None:
        return Finding("pass", "who has it open", "can't be seen on this machine")
    hidden = f"; {found.hidden} processes of other users can't be looked into" if found.hidden else ""
    return Finding("pass", "who has it open", f"{', '.join(found.seen) or 'nobody else'}{hidden}")


def _writers(*, free: bool) -> Finding:
    if free:
        return Finding("pass", "writers", "nobody has the write lock now")
    fact = "somebody has kept the write lock for a while"
    way_out = "find out who: a write transaction left open keeps every batch waiting, and fails other writers"
    return Finding("warn", "writers", fact, way_out)


def _journal(path: Path, kept: Settings) -> Finding:
    """Beside a file in WAL mode there is none; in the other modes a writer's comes and goes with each commit.

    One that was left there has been played back when this connection opened the file.
    """
    journal = path.with_name(f"{path.name}-journal")
    try:
        with journal.open("rb") as opened:
            left = opened.read(len(_JOURNAL)) == _JOURNAL
    except OSError:
        left = False
    if left and kept.journal_mode == "wal":
        fact = (
            f"{journal.name} was left by a transaction that never ended, and is played back by the next "
            "connection"
        )
        way_out = (
            "see whether it is this database's: open it once in the sqlite3 shell, which ends what it says; "
            "if "
            "it came from elsewhere, move it away first"
        )
        return Finding("stop", "leftover journal", fact, way_out)
    return Finding("pass", "leftover journal", "none")


def _log(ground: Ground, kept: Settings) -> Finding:
    if kept.journal_mode != "wal":
        return Finding("pass", "WAL", "there is none in this journal mode")
    found = preflight.log(ground.connection)
    size, left = found.pages * kept.page_size, found.left * kept.page_size
    if left > _MUCH:
        fact = (
            f"{left / 1e6:,.0f} MB of {size / 1e6:,.0f} MB can't be moved into the file: a reader still "
            "needs what was there before"
        )
        way_out = (
            "end read transactions that stay open: the WAL grows as long as one does, by all that is written"
        )
        return Finding("warn", "WAL", fact, way_out)
    return Finding("pass", "WAL", f"{size / 1e6:,.1f} MB, and no reader holds it up")
