"""A real Prometheus, Debian's, that scrapes what a test serves by the configuration that we ship."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.containers import read_yaml
from tests.integration.addresses import free_port
from tests.waiting import until

GRAFANA = Path(__file__).parents[2] / "grafana"

#: Where it is; None where it is not.
PROGRAM = shutil.which("prometheus")


@dataclass(frozen=True, slots=True)
class Curve:
    """A series over time: its labels, and its values by Unix time."""

    labels: dict[str, str]
    values: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    url: str

    def now(self, query: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Ask for the last moment, or a Unix time: labels and value of each series."""
        when = {} if at is None else {"time": at}
        return [(each["metric"], float(each["value"][1])) for each in self._ask("query", query=query, **when)]

    def over(self, query: str, begin: float, end: float, step: float = 1.0) -> list[Curve]:
        """Ask for a range of Unix times, one after so many seconds, the end within."""
        return [
            Curve(each["metric"], tuple((float(at), float(value)) for at, value in each["values"]))
            for each in self._ask("query_range", query=query, start=begin, end=end + step, step=step)
        ]

    def sees(self, query: str, seconds: float = 60) -> None:
        """Wait until a query gives a series."""
        until(lambda: self.now(query), f"Prometheus to have {query}", within=seconds)

    def _ask(self, what: str, **parameters: object) -> list[dict[str, Any]]:
        form = urllib.parse.urlencode(parameters).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{what}", form, timeout=30) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters['query']}: {error.read().decode()}") from None


def needed() -> str:
    """The program; without it a test is skipped, and fails where `CI=true`."""
    if PROGRAM is None:
        why = "needs Debian's package prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return PROGRAM


@contextmanager
def prometheus(program: str, folder: Path, targets: Mapping[str, Sequence[int]]) -> Iterator[Prometheus]:
    """Run one by grafana/prometheus.yml with these ports for each of its jobs, once a second."""
    shipped = read_yaml(GRAFANA / "prometheus.yml")
    shipped["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    shipped["rule_files"] = [str(GRAFANA / name) for name in shipped["rule_files"]]
    assert {job["job_name"] for job in shipped["scrape_configs"]} == set(targets)
    shipped["scrape_configs"] = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
        for job, ports in targets.items()
    ]
    YAML(typ="safe").dump(shipped, folder / "prometheus.yml")
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'samples'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    made = Prometheus(f"http://127.0.0.1:{port}")

    def ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        try:
            urllib.request.urlopen(f"{made.url}/-/ready", timeout=5).close()
        except urllib.error.URLError:
            return False
        return True

    try:
        until(ready, "Prometheus")
        yield made
    finally:
        process.terminate()
        process.wait(timeout=60)
