"""A job as a test needs it: of a table `items` with the key `id`, each row given the same tenant."""

from typing import Any

from sql.job import JobSpec, KeyColumn
from sql.tenant_source import Constant


def spec_of_items(**changes: Any) -> JobSpec:
    """What such a job is to fill, visited once and by its key unless `changes` say else."""
    made = JobSpec(
        schema_="public",
        table="items",
        key=(KeyColumn(name="id", type="integer"),),
        paging="contiguous",
        stripes=1,
        rows_per_page=45.0,
        most_rows=100_000,
        tenant_column="tenant_id",
        sentinel="",
        source=Constant(constant="x"),
        named="items",
        pattern=".",
        tenant_in_unique_index=False,
        hold_triggers=False,
    )
    return made.model_copy(update=changes)
