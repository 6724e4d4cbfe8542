"""What docs/metrics.md says of the series is what they are."""

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from control.exported import series
from worker import metrics

_DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
_ROW = re.compile(
    r"^\| `(?P<name>tenantry_\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \| (?P<documentation>.+) \|$",
    re.MULTILINE,
)


def _counted() -> list[tuple[str, str, tuple[str, ...], str]]:
    """The workers' series, in their order."""
    found = []
    for each in vars(metrics).values():
        if isinstance(each, MetricWrapperBase):
            (family,) = each.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found.append((name, family.type, tuple(each._labelnames), family.documentation))
    return found


def test_the_tables_say_of_every_series_its_kind_its_labels_and_what_it_means() -> None:
    told = [
        (row["name"], row["kind"], tuple(re.findall(r"`(\w+)`", row["labels"])), row["documentation"])
        for row in _ROW.finditer(_DOCUMENT)
    ]
    exported = [(each.name, str(each.kind), each.labels, each.documentation) for each in series.EVERY]
    assert told == exported + _counted()


def test_only_counters_end_in_total_and_units_are_base_units() -> None:
    for name, kind in [(each.name, each.kind) for each in series.EVERY] + [one[:2] for one in _counted()]:
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|percent)(_|$)", name), name
