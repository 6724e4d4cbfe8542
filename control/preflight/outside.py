"""Foreign keys from tables that the plan doesn't name, onto keys that change."""

from collections.abc import Iterator

from control import names
from control.keys.sides import Side
from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.postgres import outside

_NAME = "foreign keys from outside the plan"


def look(ground: Ground, old: Side) -> Iterator[Finding]:
    """What they keep as it is, and whether they can be dropped and added again."""
    onto = [(one, key) for key in old.keys for one in key.outside]
    if not onto:
        yield Finding("pass", _NAME, "none onto a key that changes")
        return
    there = outside.look(ground.connection, [one.original for one, _ in onto])
    yield none_of(
        _NAME,
        [f"{one.called} onto {one.target}" for one, _ in onto],
        level="warn",
        way_out="they hold no tenant: as long as they stand, what they point to is unique in all tenants "
        f"together, by {_indexes(old)}; of two upserts of one new key at the same time one may fail on that. "
        "Take their tables into the plan, or drop them first, if tenants are to have the same keys",
        fine="",
    )
    yield none_of(
        f"{_NAME}: tables",
        [
            *(f"{one.schema}.{one.table} is not this role's" for one in there if not one.owned),
            *(f"{one.schema}.{one.table} is partitioned" for one in there if one.kind == "p"),
        ],
        level="stop",
        way_out="they are altered too: run as their owner, or GRANT the owner's role; a partitioned one has "
        "to be in the plan, or to let its foreign key go",
        fine="they can be altered",
    )


def _indexes(old: Side) -> str:
    return ", ".join(names.returning(key.name) for key in old.keys if key.outside)
