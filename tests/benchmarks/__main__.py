"""`make bench`: ratios in one run, median of so many rounds, on an embedded server.

Timings are nobody's test: they are printed, with the server's version and settings, and written as JSON.
"""

import argparse
import json
import logging
import statistics
import sys
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from control.embedded.postgres import start_postgres
from tests.benchmarks import backfills, tables
from tests.benchmarks.tables import Measured
from worker import logs

_SETTINGS = ("server_version", "shared_buffers", "max_wal_size", "fsync", "synchronous_commit")


def main() -> int:
    """Measure the engine against one UPDATE, for a key in insertion order and for a random one."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where the figures go")
    given = parser.parse_args()
    logs.configure(level=logging.WARNING)
    results = []
    with start_postgres() as server:
        with psycopg.connect(server.url()) as connection:
            settings = {name: _setting(connection, name) for name in _SETTINGS}
        for key in ("ordered", "random"):
            rounds = []
            for _ in range(given.rounds):
                update = backfills.one_update(tables.make(server, "bench", rows=given.rows, key=key))
                engine = backfills.engine(tables.make(server, "bench", rows=given.rows, key=key))
                rounds.append((update, engine))
            results.append(_compared(key, given.rows, rounds))
    _say(results, settings)
    if given.json:
        given.json.write_text(json.dumps({"settings": settings, "results": results}, indent=2))
    return 0


def _setting(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def _compared(key: str, rows: int, rounds: list[tuple[Measured, Measured]]) -> dict[str, object]:
    """Medians of the ratios of each round: a machine that slows down slows both of a round."""
    return {
        "key": key,
        "rows": rows,
        "update_rows_per_second": round(statistics.median(rows / u.seconds for u, _ in rounds)),
        "engine_rows_per_second": round(statistics.median(rows / e.seconds for _, e in rounds)),
        "speed": round(statistics.median(u.seconds / e.seconds for u, e in rounds), 2),
        "wal": round(statistics.median(e.wal / u.wal for u, e in rounds), 2),
        "size_update": round(statistics.median(u.after / u.before for u, _ in rounds), 2),
        "size_engine": round(statistics.median(e.after / e.before for _, e in rounds), 2),
    }


def _say(results: list[dict[str, object]], settings: dict[str, str]) -> None:
    console = Console(width=150)
    console.print(", ".join(f"{name} {value}" for name, value in settings.items()))
    table = Table(*results[0].keys())
    for result in results:
        table.add_row(*(str(value) for value in result.values()))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
