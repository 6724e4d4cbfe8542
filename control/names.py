"""Names of what the migration itself makes in the database, for a while or for good."""

import hashlib
from typing import Literal

from psycopg import sql

from sql.postgres.facts import Table

#: Where the write guard's functions and sequences live.
GUARD_SCHEMA = "tenantry_guard"

#: The write guard's trigger, on each table whose tenant is derived.
GUARD_TRIGGER = "zz_tenantry_guard"
#: The same for changes of what tells a row's tenant. Both names come after those of most triggers, for such a
#: trigger may set what the tenant is told by.
GUARD_TRIGGER_OF_CHANGES = "zz_tenantry_guard_of_changes"
GUARD_TRIGGERS = (GUARD_TRIGGER, GUARD_TRIGGER_OF_CHANGES)

#: What happens to a row that tells others their tenant: another value, the row is new, or it goes.
Event = Literal["changes", "news", "ends"]

#: PostgreSQL cuts longer names without a word, and two of them could become one.
_LONGEST = 63


def fitting(name: str) -> str:
    """`name`, or where it has more than 63 bytes its beginning and a hash of the whole."""
    return name if len(name.encode()) <= _LONGEST else _hashed(name, of=name)


def _hashed(name: str, *, of: str) -> str:
    digest = hashlib.sha256(of.encode()).hexdigest()[:8]
    return name.encode()[: _LONGEST - 9].decode(errors="ignore") + "_" + digest


def guard(table: Table) -> str:
    """The name of a table's guard function, and of the sequence that counts its uses."""
    name = f"{table.schema_}.{table.name}"
    # "a.b"."c" and "a"."b.c" are two tables: with one guard for both, rows would get the other one's tenants.
    return fitting(name) if name.count(".") == 1 else _hashed(name, of=table.identifier.as_string())


def follower(table: Table, leader: str, told_by: tuple[object, ...]) -> str:
    """The name of the function by which rows of a table follow those of another."""
    return _hashed(f"{table.name} follows {leader}", of=f"{table.identifier.as_string()} {leader} {told_by}")


def is_follower(name: str, table: Table) -> bool:
    """Whether a function is one by which rows of that table follow others."""
    beginning = f"{table.name} follows ".encode()[: _LONGEST - 9].decode(errors="ignore")
    return name.startswith(beginning)


def follow_trigger(follower: str, event: Event) -> str:
    """The trigger that calls it; it must come before `RI_…`."""
    return _hashed(f"A_tenantry {follower}", of=f"{follower} {event}")


def is_among(owned: tuple[str, ...], name: str) -> bool:
    """Whether something of the guard's has that name: the catalog quotes names only where it must.

    Most of ours hold a dot or a blank; cut off at 54 bytes, one of a long table or schema may hold none.
    """
    return any(f"{GUARD_SCHEMA}.{one}" in owned for one in (name, sql.Identifier(name).as_string()))


def primary_key(table: Table) -> str:
    """The name of a table's primary key: the one it has, or as PostgreSQL would call it."""
    return table.primary_key.name if table.primary_key else fitting(f"{table.name}_pkey")


def part_of(index: str, partition: Table) -> str:
    """The part of a partitioned table's index that is on a partition."""
    return fitting(f"{partition.name}_{index}")


def incoming(name: str) -> str:
    """What replaces `name`, as long as both stand side by side."""
    return fitting(f"{name}_tenantry_new")


def returning(name: str) -> str:
    """What comes back in the place of `name` when it is undone, as long as both stand side by side."""
    return fitting(f"{name}_tenantry_old")


def not_null_check(table: Table, column: str) -> str:
    """The check that proves a column free of NULL before it is declared NOT NULL."""
    return fitting(f"{table.name}_{column}_tenantry_not_null")


def owner_policy(policy: str) -> str:
    """The policy that goes on admitting a table's owner beside `policy`."""
    return fitting(f"{policy}_owner")
