"""The dashboards that are committed: made of the code, and by the rules of Grafana's dashboard linter.

The rules are named as the linter names them. No rule has an exclusion.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from prometheus_client.metrics import MetricWrapperBase

from control.exported import series
from grafana import build
from grafana.queries import named
from worker import metrics
from worker.governor.limits import SignalName

#: Units of Grafana's that the dashboards use, out of the linter's list.
_UNITS = {
    "none",
    "short",
    "percentunit",
    "s",
    "bytes",
    "binBps",
    "rps",
    "wps",
    "ops",
    "bool_yes_no",
    "dateTimeFromNow",
}

#: A selector with its labels, a range if it has one, and what stands before it.
_SELECTOR = re.compile(r"(?P<before>\w+\()?(?P<name>tenantry_\w+)(?P<labels>\{.*?\})?(?P<range>\[[^]]*\])?")


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((build.FOLDER / name).read_text())
    return found


NAMES = sorted(path.name for path in build.FOLDER.glob("*.json"))
BOARDS = {name: _read(name) for name in NAMES}
PANELS = [
    (f"{name}: {panel['title']}", panel)
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]
EXPRESSIONS = [
    *(target["expr"] for _, panel in PANELS for target in panel["targets"]),
    *(each["expr"] for board in BOARDS.values() for each in board["annotations"]["list"]),
]
_COUNTED = {named(value) for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)}
#: Every name that the code shows.
KNOWN = {each.name for each in series.EVERY} | _COUNTED


def _selectors() -> Iterator[re.Match[str]]:
    for expression in EXPRESSIONS:
        yield from _SELECTOR.finditer(expression)


def test_the_dashboards_are_what_the_code_makes() -> None:
    made = build.dashboards()
    assert sorted(made) == NAMES, "python -m grafana.build"
    for name, text in made.items():
        assert (build.FOLDER / name).read_text() == text, "python -m grafana.build"


def test_every_series_that_is_asked_for_is_one_that_the_code_shows() -> None:
    assert {found["name"] for found in _selectors()} <= KNOWN


def test_every_series_that_the_code_shows_is_on_a_dashboard_or_for_alerts_alone() -> None:
    for_alerts = {each.name for each in (series.MIGRATION_STARTED, series.GATE_CLOSED_SINCE)}
    # Of these there are signals of the governor's.
    twice = {series.REPLICA_LAG_BYTES.name}
    asked = {found["name"] for found in _selectors()}
    assert KNOWN - asked - {series.UP.name} == for_alerts | twice


def test_every_signal_of_the_governor_has_a_panel() -> None:
    (*queried,) = (
        target["expr"] for panel in BOARDS["governor.json"]["panels"] for target in panel.get("targets", ())
    )
    for signal in get_args(SignalName):
        assert sum(f'signal="{signal}"' in expression for expression in queried) == 3, signal


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_open_and_panels_do_not_lie_upon_each_other(name: str) -> None:
    seen: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        assert not panel.get("collapsed"), panel["title"]
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        places = {
            (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
        }
        assert not places & seen, panel["title"]
        seen |= places
    width_of_lines = {y: sum(1 for place in seen if place[1] == y) for _, y in seen}
    assert set(width_of_lines.values()) == {24}, "a gap"
    ids = [panel["id"] for panel in BOARDS[name]["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", NAMES)
def test_dashboards_lead_to_each_other_with_what_is_chosen(name: str) -> None:
    board = BOARDS[name]
    others, runbook = board["links"]
    assert (others["type"], others["includeVars"], others["keepTime"]) == ("dashboards", True, True)
    assert set(others["tags"]) <= set(board["tags"])
    assert runbook["url"] == "${runbook}"
    assert board["uid"] == f"tenantry-{name.removesuffix('.json')}"


def test_every_section_of_the_runbook_has_a_panel_that_leads_to_it_and_no_link_leads_elsewhere() -> None:
    sections = re.findall(
        r"^## (Tenantry\w+)$", (build.FOLDER.parents[1] / build.RUNBOOK).read_text(), re.MULTILINE
    )
    leads = {link["url"] for _, panel in PANELS for link in panel.get("links", ())}
    assert leads == {f"${{runbook}}#{section.lower()}" for section in sections}


@pytest.mark.parametrize("name", NAMES)
def test_template_datasource_rule(name: str) -> None:
    (source,) = (each for each in BOARDS[name]["templating"]["list"] if each["type"] == "datasource")
    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")


@pytest.mark.parametrize("label", ["job", "instance"])
@pytest.mark.parametrize("name", NAMES)
def test_template_job_rule_and_template_instance_rule(name: str, label: str) -> None:
    (found,) = (each for each in BOARDS[name]["templating"]["list"] if each["name"] == label)
    assert (found["type"], found["label"], found["multi"], found["allValue"]) == (
        "query",
        label.capitalize(),
        True,
        ".+",
    )
    assert found["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("name", NAMES)
def test_template_label_promql_rule_and_template_on_time_change_reload_rule(name: str) -> None:
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert asked is not None
            assert asked[2] == variable["name"]
            assert {found["name"] for found in _SELECTOR.finditer(asked[1])} <= KNOWN
            assert variable["refresh"] == 2, variable["name"]


def test_panel_datasource_rule_and_panel_no_targets_rule() -> None:
    for title, panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, title
        assert panel["targets"], title
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"]), title
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), title


def test_panel_title_description_rule() -> None:
    for title, panel in PANELS:
        assert panel["title"], title
        assert panel["description"].endswith((".", "`")), title


def test_panel_units_rule() -> None:
    for title, panel in PANELS:
        config = panel["fieldConfig"]
        columns = [
            each["value"]
            for override in config["overrides"]
            for each in override["properties"]
            if each["id"] == "unit"
        ]
        assert {config["defaults"]["unit"], *columns} <= _UNITS, title
        # None is for what is words: labels, states, and the columns that say what a row is of.
        if config["defaults"]["unit"] == "none":
            assert panel["type"] in {"table", "state-timeline"} or panel["options"]["textMode"] == "name", (
                title
            )
            assert panel["type"] != "table" or columns, title


def test_every_query_has_a_legend_or_is_of_a_table() -> None:
    for title, panel in PANELS:
        for target in panel["targets"]:
            assert bool(target.get("legendFormat")) != (target.get("format") == "table"), title


def test_target_rate_interval_rule() -> None:
    for found in _selectors():
        assert found["range"] in {None, "[$__rate_interval]"}, found[0]


def test_target_job_rule_and_target_instance_rule() -> None:
    for found in _selectors():
        assert found["labels"] is not None, found[0]
        assert 'job=~"$job"' in found["labels"]
        assert 'instance=~"$instance"' in found["labels"]


def test_target_counter_agg_rule() -> None:
    for found in _selectors():
        if found["name"].endswith(("_total", "_bucket")):
            assert (found["before"], found["range"]) == ("rate(", "[$__rate_interval]"), found[0]


@pytest.mark.parametrize("name", NAMES)
def test_uneditable_dashboard_rule(name: str) -> None:
    assert BOARDS[name]["editable"] is False
