"""Queries of the dashboards: every name of a series comes from the code that shows it.

Several exporters may watch one migration, so that a gauge is aggregated with `max`; a counter is a worker
pool's own, and is summed.
"""

from collections.abc import Mapping

from prometheus_client.metrics import MetricWrapperBase

from control.exported.series import TABLE_ROWS_UPDATED, Series

#: By which every series can be told apart, whoever scraped it.
_ANYWHERE = ('job=~"$job"', 'instance=~"$instance"')


def exported(series: Series, *matchers: str) -> str:
    """Select a series of the exporter, of the migration that the dashboard is at."""
    which = ('migration="$migration"',) if "migration" in series.labels else ()
    return f"{series.name}{{{','.join((*which, *matchers, *_ANYWHERE))}}}"


def named(metric: MetricWrapperBase) -> str:
    """Tell the name that Prometheus knows a counter by, or a histogram's buckets."""
    (family,) = metric.describe()
    return family.name + {"counter": "_total", "histogram": "_bucket"}[family.type]


def counted(metric: MetricWrapperBase, *matchers: str) -> str:
    """Select what the workers count; of a histogram its buckets. Workers know no name of the migration."""
    return f"{named(metric)}{{{','.join((*matchers, *_ANYWHERE))}}}"


def rate(selector: str, by: str = "") -> str:
    """Per second, summed by some labels."""
    return f"sum {_by(by)}(rate({selector}[$__rate_interval]))"


def quantile(of: float, selector: str) -> str:
    """The quantile of a histogram's buckets."""
    return f"histogram_quantile({of}, {rate(selector, 'le')})"


def largest(selector: str, by: str = "") -> str:
    """The largest by some labels."""
    return f"max {_by(by)}({selector})"


def rows_per_second(*matchers: str, by: str = "table") -> str:
    """Rows that batches give their tenant, by the ledger: a gauge, for a rollback takes them back."""
    return (
        f"clamp_min({largest(f'deriv({exported(TABLE_ROWS_UPDATED, *matchers)}[$__rate_interval])', by)}, 0)"
    )


def coded(series: Series, label: str, codes: Mapping[str, int], by: str = "") -> str:
    """A number, from 1, for the value that a label has where a series is 1: for a timeline of states."""
    return " or ".join(
        f"{largest(f'{exported(series, _equals(label, value))} == 1', by)} * {code}"
        for value, code in codes.items()
    )


def _by(labels: str) -> str:
    return f"by ({labels}) " if labels else ""


def _equals(label: str, value: str) -> str:
    return f'{label}="{value}"'
