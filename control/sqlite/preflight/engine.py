"""SQLite itself, and how the file is kept."""

import sqlite3
from collections.abc import Iterator

from control.preflight.finding import Finding
from control.sqlite.stage import Ground
from sql.sqlite import preflight
from sql.sqlite.preflight import Settings

#: The first with `->>`, and the first that a plan can't do without: STRICT, `pragma_table_list`.
_ARROWS, _OLDEST = (3, 38, 0), (3, 37, 0)
#: Below it a page holds few rows, and each write more pages.
_SMALL_PAGE = 4096
#: `PRAGMA auto_vacuum`.
_AUTO_VACUUM = {0: "none", 1: "full", 2: "incremental"}


def look(ground: Ground) -> Iterator[Finding]:
    """Every fact about SQLite and the file's settings."""
    yield version(sqlite3.sqlite_version_info)
    kept = preflight.settings(ground.connection)
    yield _journal_mode(kept)
    yield _pages(kept)
    yield _auto_vacuum(kept)
    yield _secure_delete(kept)


def version(found: tuple[int, ...]) -> Finding:
    """Whether a version of SQLite has what a migration needs."""
    fact = ".".join(map(str, found))
    if found < _OLDEST:
        return Finding(
            "stop", "SQLite", f"{fact} is too old", "run with a Python whose sqlite3 has 3.37 or newer"
        )
    if found < _ARROWS:
        way_out = "write json_extract(properties, '$.org_id') in expressions, or run with 3.38 or newer"
        return Finding("warn", "SQLite", f"{fact} has no ->> operator", way_out)
    return Finding("pass", "SQLite", fact)


def _journal_mode(kept: Settings) -> Finding:
    if kept.journal_mode == "wal":
        return Finding("pass", "journal mode", "WAL: readers and the writer don't wait for each other")
    fact = (
        f"{kept.journal_mode}: a reader keeps every COMMIT waiting, and every COMMIT the readers; an "
        "application "
        "with a busy timeout gets through batches, and waits for all of a rebuild"
    )
    way_out = "PRAGMA journal_mode = WAL, once, while nobody else has the file open; it stays so"
    return Finding("warn", "journal mode", fact, way_out)


def _pages(kept: Settings) -> Finding:
    fact = f"{kept.page_size:,} bytes each, {kept.bytes_ / 1e6:,.0f} MB in all"
    if kept.page_size < _SMALL_PAGE:
        way_out = "PRAGMA page_size = 4096 and VACUUM, not in WAL mode and while nobody else has it open"
        return Finding("warn", "pages", f"{fact}: small ones make every write larger", way_out)
    return Finding("pass", "pages", fact)


def _auto_vacuum(kept: Settings) -> Finding:
    mode = _AUTO_VACUUM.get(kept.auto_vacuum, str(kept.auto_vacuum))
    if mode == "full":
        fact = (
            "full: the transaction that drops an old table moves pages from the end of the file into its room"
        )
        way_out = "PRAGMA auto_vacuum = INCREMENTAL until the migration is over; no VACUUM is needed for that"
        return Finding("warn", "auto_vacuum", fact, way_out)
    return Finding("pass", "auto_vacuum", mode)


def _secure_delete(kept: Settings) -> Finding:
    if not kept.secure_delete:
        return Finding("pass", "secure_delete", "off")
    # The application's connections may have it otherwise: it is each connection's own.
    return Finding(
        "pass", "secure_delete", "on; our own connection only lets go of what it drops, for the rows live on"
    )
