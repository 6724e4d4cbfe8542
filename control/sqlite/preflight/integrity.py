"""Whether the file is whole: its pages, its constraints, and what its foreign keys name."""

import sqlite3
from collections.abc import Iterator

from control.preflight.finding import Finding, none_of
from control.sqlite.stage import Ground
from sql.sqlite import preflight
from sql.sqlite.facts import Catalog, ForeignKey, Table
from sql.sqlite.names import folded

#: A larger file is looked at without its indexes, and one question about it takes so many seconds at most.
LARGE, LIMIT = 1024**3, 60.0


def look(ground: Ground, limit: float = LIMIT) -> Iterator[Finding]:
    """Every fact about the file as a whole; each question is given up after `limit` seconds."""
    yield _pages(ground, limit)
    yield _mismatches(ground.original)
    yield from _dangling(ground, limit)


def _pages(ground: Ground, limit: float) -> Finding:
    quick = preflight.settings(ground.connection).bytes_ > LARGE
    how = "quick_check, for its size" if quick else "integrity_check"
    try:
        with preflight.limited(ground.connection, limit):
            found = preflight.integrity(ground.connection, quick=quick)
    except preflight.TooLongError:
        way_out = "PRAGMA quick_check on a copy; the backup is looked at, too"
        return Finding("warn", "integrity", f"not checked in {limit:g} s ({how})", way_out)
    except sqlite3.OperationalError as error:
        # What it lacks is told by its own finding.
        way_out = "let the application run PRAGMA integrity_check: it has what our connection lacks"
        return Finding("warn", "integrity", f"can't be checked here: {error}", way_out)
    return none_of(
        "integrity",
        found,
        level="stop",
        way_out="mend it first (REINDEX, or .recover in the sqlite3 shell; rows that break a NOT NULL "
        "or CHECK by "
        "UPDATE): a table with it can't be written anew",
        fine=f"nothing is wrong ({how})",
    )


def is_key(there: Table, columns: tuple[str, ...]) -> bool:
    """Whether a foreign key may name these columns: they are the primary key, or unique over all rows."""
    wanted = {folded(name) for name in columns}
    keys = [there.primary_key] + [
        tuple(name or "" for name in index.columns)
        for index in there.indexes
        if index.unique and not index.partial
    ]
    return any(wanted == {folded(name) for name in key} and len(key) == len(columns) for key in keys)


def _mismatches(original: Catalog) -> Finding:
    return none_of(
        "foreign keys that fit nothing",
        [
            f"{table.name} ({', '.join(key.columns)}): {reason}"
            for table in original.tables.values()
            for key in table.foreign_keys
            if (reason := _unfit(original, key)) is not None
        ],
        level="stop",
        way_out='with foreign_keys on every write there fails ("foreign key mismatch"): let it name a '
        "primary key "
        "or UNIQUE columns, or take the foreign key away",
        fine="none",
    )


def _unfit(original: Catalog, key: ForeignKey) -> str | None:
    there = original.find(key.target)
    if there is None:
        return f"there is no table {key.target}"
    if len(key.target_columns) != len(key.columns) or not is_key(there, key.target_columns):
        return f"({', '.join(key.target_columns)}) is no key of {there.name}"
    return None


def _dangling(ground: Ground, limit: float) -> Iterator[Finding]:
    found: list[str] = []
    try:
        for table in ground.original.tables.values():
            if table.foreign_keys and all(_unfit(ground.original, key) is None for key in table.foreign_keys):
                with preflight.limited(ground.connection, limit):
                    told = preflight.dangling(ground.connection, table.name)
                found += [
                    f"{rows:,} rows of {table.name} name no row of {target}" for target, rows in told.items()
                ]
    except preflight.TooLongError:
        way_out = "PRAGMA foreign_key_check on a copy"
        yield Finding("warn", "foreign keys", f"not checked in {limit:g} s", way_out)
        return
    except sqlite3.OperationalError as error:
        yield Finding(
            "warn", "foreign keys", f"can't be checked here: {error}", "let the application check them"
        )
        return
    yield none_of(
        "foreign keys",
        found,
        level="warn",
        way_out="mend or delete these rows (PRAGMA foreign_key_check names them): their tenant can't be "
        "worked out "
        "by that foreign key",
        fine="every row that they name is there",
    )
