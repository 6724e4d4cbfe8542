"""The write guard of a SQLite file: rows written by code that does not know the tenant column get theirs."""

from collections.abc import Iterator

from control.plan.model import Plan
from control.sqlite.stage import Step
from sql.sqlite.facts import Catalog


def put(plan: Plan, original: Catalog) -> Iterator[Step]:  # noqa: ARG001
    """Put the guard in its place."""
    return iter(())


def drop(plan: Plan, original: Catalog) -> Iterator[Step]:  # noqa: ARG001
    """Take the guard away."""
    return iter(())
