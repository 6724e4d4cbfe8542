"""Views that lean on keys that change: which the swap defines anew, and why others not."""

from collections.abc import Iterator
from typing import NamedTuple

from control.keys import views
from control.keys.sides import Key, Side
from control.stage import Ground
from sql.postgres import views as trial
from sql.postgres.facts import View


class Anew(NamedTuple):
    """A view, and why it can't be defined anew; None if it can."""

    view: View
    key: Key
    reason: str | None


def look(ground: Ground, old: Side, new: Side) -> Iterator[Anew]:
    """Each view that leans on a key that changes, tried on the server; nothing is left of it."""
    leaning = [
        (view, before, key) for before, key in zip(old.keys, new.keys, strict=True) for view in key.was.views
    ]
    may = trial.look(ground.connection, [view for view, _, _ in leaning])
    several = {
        view.oid
        for at, (view, _, _) in enumerate(leaning)
        for other, _, _ in leaning[:at]
        if other.oid == view.oid
    }
    for view, before, key in leaning:
        if view.oid not in may:
            continue  # dropped since
        if not may[view.oid]:
            yield Anew(view, key, "this role doesn't own it, or may make nothing in its schema")
        elif view.oid in several:
            yield Anew(view, key, "it leans on several keys that change")
        else:
            yield Anew(view, key, _reason(ground, before, key, view))


def _reason(ground: Ground, before: Key, key: Key, view: View) -> str | None:
    added = [column for column in key.columns if column not in before.columns]
    definition = views.with_columns(view, before.columns, added)
    if definition is None:
        return "no GROUP BY of it names the whole key"

    def refused(said: str) -> str | None:
        tried = views.without_schema(said, key.was)
        tenant = ground.plan.tenant.column
        return trial.refused(
            ground.connection, key.was, key.columns, tenant=tenant, view=view, definition=tried
        )

    reason = refused(definition)
    if reason is not None:
        return f"with {', '.join(added)} in its GROUP BY the server says: {reason}"
    if any(refused(fewer) is None for fewer in views.with_fewer(view, before.columns, added)):
        return "not each GROUP BY of the key in it needs the tenant"
    return None
