"""The alerts: what they ask for exists, each is told in the runbook, and each fires when it must."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import Counter, Histogram

from control import tuning
from control.cli import COMMANDS
from control.exported import series
from worker import metrics

REPOSITORY = Path(__file__).parents[2]
GRAFANA = REPOSITORY / "grafana"
RULES = re.sub(r"^\s*#.*$", "", (GRAFANA / "rules.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)
STORIES = (GRAFANA / "rules_test.yml").read_text(encoding="utf-8")
RUNBOOK = (REPOSITORY / "docs" / "runbook.md").read_text(encoding="utf-8")

#: The text of each alert, and of each section of the runbook, by their names.
ALERTS = dict(re.findall(r"^ +- alert: (\w+)\n(.*?)(?=^ +- alert:|\Z)", RULES, re.MULTILINE | re.DOTALL))
SECTIONS = dict(re.findall(r"^## (Tenantry\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))

#: A selector: a metric, and what stands in braces behind it.
_SELECTOR = re.compile(r"\b(?P<metric>tenantry_\w+|up)\b(?:\{(?P<labels>[^}]*)\})?")
#: Every target has these from Prometheus itself.
_OF_THE_TARGET = {"job", "instance"}

_PROMTOOL = shutil.which("promtool")


def _declared() -> dict[str, set[str]]:
    """The labels of every series that is there to be asked for."""
    found = {"up": set[str]()} | {each.name: set(each.labels) for each in series.EVERY}
    for each in vars(metrics).values():
        if isinstance(each, Counter):
            found[f"{each._name}_total"] = set(each._labelnames)
        elif isinstance(each, Histogram):
            for suffix in ("bucket", "count", "sum"):
                found[f"{each._name}_{suffix}"] = {*each._labelnames, "le"}
    return found


def _asked(text: str) -> list[tuple[str, set[str]]]:
    """The metrics of every selector, with the labels that it looks at."""
    return [
        (found["metric"], set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', found["labels"] or "")))
        for found in _SELECTOR.finditer(text)
    ]


def _expressions() -> str:
    blocks = re.findall(r"^( +)expr: (.*\n(?:\1 .*\n|\n)*)", RULES, re.MULTILINE)
    assert len(blocks) == len(ALERTS) + RULES.count("- record: ")
    return "\n".join(block for _, block in blocks)


@pytest.mark.parametrize("text", [_expressions(), STORIES.partition("tests:")[2]], ids=["rules", "stories"])
def test_every_series_and_label_that_is_asked_for_is_one_that_is_shown(text: str) -> None:
    declared = _declared()
    asked = _asked(re.sub(r"external_labels:\n.*\n", "", text))
    assert asked
    unknown = {metric for metric, _ in asked} - set(declared)
    assert unknown == set()
    strange = [(metric, labels - declared[metric] - _OF_THE_TARGET) for metric, labels in asked]
    assert [(metric, labels) for metric, labels in strange if labels] == []


def test_every_label_that_the_words_of_an_alert_name_is_a_label_of_something_that_it_asks_for() -> None:
    declared = _declared()
    for name, text in ALERTS.items():
        known = _OF_THE_TARGET.union(*(declared[metric] for metric, _ in _asked(text) if metric in declared))
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= known, name


def test_nothing_of_one_exporter_or_migration_is_held_against_anothers() -> None:
    matched = re.findall(r"\b(?:on|by) \(([^)]*)\)", _expressions())
    assert matched
    assert set(matched) == {"job, instance, migration"}
    assert re.findall(r"\bgroup_(?:left|right)\b|\bwithout\b", _expressions()) == []


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_its_words_and_a_link_to_its_section(name: str) -> None:
    text = ALERTS[name]
    assert re.search(r"severity: (page|ticket)$", text, re.MULTILINE)
    assert re.search(r"^ +summary: \S", text, re.MULTILINE)
    assert re.search(r"^ +description: \S", text, re.MULTILINE)
    link = f'{{{{ or $externalLabels.tenantry_runbook "docs/runbook.md" }}}}#{name.lower()}'
    assert f"runbook_url: '{link}'" in text


def test_the_runbook_has_a_section_for_every_alert_and_no_other() -> None:
    assert ALERTS
    assert list(SECTIONS) == list(ALERTS)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means_what_to_look_at_and_what_to_do_in_at_most_25_lines(name: str) -> None:
    parts = re.findall(r"^\*\*(.+?)\*\*", SECTIONS[name], re.MULTILINE)
    assert parts == ["What it means.", "What to look at.", "What to do."]
    assert len(SECTIONS[name].strip().splitlines()) <= 25


def test_the_table_of_the_runbook_has_every_alert_with_its_severity() -> None:
    told = dict(re.findall(r"^\| \[(\w+)\]\(#\w+\) \| (\w+) \| .+ \|$", RUNBOOK, re.MULTILINE))
    severities = {name: re.findall(r"severity: (\w+)", text)[0] for name, text in ALERTS.items()}
    assert told == severities
    links = re.findall(r"^\| \[(\w+)\]\(#(\w+)\)", RUNBOOK, re.MULTILINE)
    assert [anchor for _, anchor in links] == [name.lower() for name, _ in links]


def test_the_runbook_names_commands_and_settings_that_there_are() -> None:
    assert set(re.findall(r"`tenantry ([a-z]+)[^`]*`", RUNBOOK)) <= set(COMMANDS)
    for given in re.findall(r"`tenantry tune ([^`]+)`", RUNBOOK):
        assert tuning.read([given.strip("'")])


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_seen_to_fire_and_seen_not_to(name: str) -> None:
    told = STORIES.partition("tests:")[2]
    assert re.search(rf"alertname: {name}\n\s+exp_alerts:\n\s+- exp_labels:", told)
    assert f"alertname: {name}, exp_alerts: []" in told


@pytest.fixture
def promtool() -> Path:
    if _PROMTOOL is None:
        missing = "promtool is not installed: apt-get install prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return Path(_PROMTOOL)


@pytest.mark.full
@pytest.mark.parametrize(
    "what", ["check config prometheus.yml", "check rules rules.yml", "test rules rules_test.yml"]
)
def test_prometheus_itself_takes_the_rules_and_tells_the_stories_as_they_are_written(
    promtool: Path, what: str
) -> None:
    done = subprocess.run([promtool, *what.split()], cwd=GRAFANA, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
