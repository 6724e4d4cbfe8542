"""The keys that will hold the tenant: what points to them, and what stands in the way of the old ones."""

from collections.abc import Iterator

from control.keys import publications, unique
from control.keys.sides import sides
from control.preflight import outside, uniques, views
from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.errors import CatalogError, GivenWrongError
from sql.postgres.keys import leaning

_REFERENCES = "foreign keys onto changing keys"


def look(ground: Ground) -> Iterator[Finding]:
    """Every fact about the keys that change; all tables of the plan are there.

    Raises:
        PlanError: a `unique` of the plan that isn't there, isn't unique, or holds the tenant already.
    """
    unique.check(ground.plan, ground.original)
    try:
        old, new = sides(ground.plan, ground.original)
    except (CatalogError, GivenWrongError) as error:
        yield Finding("stop", _REFERENCES, str(error), "correct that in the plan or the schema")
        return
    yield Finding("pass", _REFERENCES, f"{len(new.references)} will hold the tenant")
    yield from outside.look(ground, old)
    tried = list(views.look(ground, old, new))
    anew = [one.view.oid for one in tried if one.reason is None]
    yield none_of(
        "what leans on changing keys",
        [
            *(
                f"{leans} on the key of {key.table}"
                for before, key in zip(old.keys, new.keys, strict=True)
                if before.columns
                for leans in leaning(ground.connection, publications.tree(key.was), key.columns, anew)
            ),
            *(f"view {one.view.name} can't be defined anew: {one.reason}" for one in tried if one.reason),
        ],
        level="stop",
        way_out="the old key can't be dropped under them, and CASCADE would take them along: name every "
        "column that they select in their GROUP BY (columns, not the key, in ON CONFLICT), or leave "
        "`primary_key` out",
        fine="nothing that stands in their way",
    )
    if anew:
        named = ", ".join(f"{one.view.schema_}.{one.view.name}" for one in tried if one.reason is None)
        yield Finding(
            "pass",
            "views on changing keys",
            f"{named}: defined anew in the swap, with the tenant in GROUP BY",
        )
    if new.uniques:
        yield from uniques.look(ground, old)
    yield none_of(
        "publications of changing keys",
        publications.short(ground.connection, new),
        level="warn",
        way_out="`keys` waits until their column lists hold the new key: after `columns`, let subscribers "
        "add the column and ALTER PUBLICATION … SET TABLE with it",
        fine="none with a column list that lacks the new key",
    )
