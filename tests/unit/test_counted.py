"""What many processes counted, one after the other: all of it is there, in few files."""

import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from control.counted import Counted

#: A worker's counts of one batch, by a process that ends at once.
_COUNTS = """
import os
from worker import metrics
metrics.ROWS.labels("t").inc(3)
metrics.DURATION.labels("t").observe(0.02)
os._exit(0)
"""


def _count(folder: Path) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    ours = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", _COUNTS], env=environment, cwd=ours, check=True)


def _scraped(counted: Counted) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(counted)
    return {
        sample.name + str(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_the_files_of_the_dead_are_laid_together_and_nothing_of_them_is_lost(tmp_path: Path) -> None:
    counted, table = Counted(tmp_path), str([("table", "t")])
    for times in (1, 2, 3):
        _count(tmp_path)
        found = _scraped(counted)
        assert found[f"tenantry_worker_rows_total{table}"] == 3 * times
        assert found[f"tenantry_worker_batch_duration_seconds_count{table}"] == times
        at_most = str([("le", "0.025"), ("table", "t")])
        assert found[f"tenantry_worker_batch_duration_seconds_bucket{at_most}"] == times
        assert sorted(file.name for file in tmp_path.iterdir()) == ["counter_0.db", "histogram_0.db"]
    assert _scraped(counted) == found


def test_a_file_that_its_process_has_just_made_is_no_error(tmp_path: Path) -> None:
    _count(tmp_path)
    (tmp_path / "counter_1.db").touch()  # of a process that lives
    found = _scraped(Counted(tmp_path))
    assert found["tenantry_worker_rows_total" + str([("table", "t")])] == 3
    assert (tmp_path / "counter_1.db").exists()
