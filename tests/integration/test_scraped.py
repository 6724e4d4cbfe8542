"""Every question of the dashboards and alerts, asked of a real Prometheus that watched a real migration."""

import json
import math
import re
from collections.abc import Iterator

import pytest

from control.embedded.valkey import EmbeddedValkey
from tests.integration.prometheus import GRAFANA, needed
from tests.integration.scraped import MIGRATION, TABLE, Scraped, migrated

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

#: What the dashboards' variables stand for; the interval is a few scrapes.
VARIABLES = {
    "$migration": MIGRATION,
    "$table": TABLE,
    "$job": ".+",
    "$instance": ".+",
    "$__rate_interval": "10s",
}

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory, valkey: EmbeddedValkey) -> Iterator[Scraped]:
    with migrated(needed(), tmp_path_factory.mktemp("scraped"), valkey) as found:
        yield found


def asked(expression: str) -> str:
    """An expression with what the variables stand for."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression


def _answers(scraped: Scraped, expression: str) -> bool:
    """Whether there is a number at any time of the migration."""
    curves = scraped.prometheus.over(expression, scraped.begun, scraped.ended)
    return any(not math.isnan(value) for curve in curves for _, value in curve.values)


def test_every_query_of_every_panel_has_data(scraped: Scraped) -> None:
    without = [
        (name, panel["title"], target["expr"])
        for name, board in BOARDS.items()
        for panel in board["panels"]
        for target in panel.get("targets", ())
        if not _answers(scraped, asked(target["expr"]))
    ]
    assert not without


def test_annotations_are_times_in_the_migration_in_milliseconds(scraped: Scraped) -> None:
    for annotation in BOARDS["overview"]["annotations"]["list"]:
        assert annotation["useValueForTime"]
        curves = scraped.prometheus.over(asked(annotation["expr"]), scraped.begun, scraped.ended)
        assert curves, annotation["name"]
        for curve in curves:
            for _, value in curve.values:
                assert scraped.begun - 1 < value / 1000 < scraped.ended + 1, (
                    annotation["name"],
                    curve.labels,
                )
            for label in re.findall(r"\{\{(\w+)\}\}", annotation["titleFormat"]):
                assert curve.labels[label]


def test_what_the_operator_did_and_every_stage_are_annotated(scraped: Scraped) -> None:
    begun, done, actions = (
        scraped.prometheus.over(asked(each["expr"]), scraped.begun, scraped.ended)
        for each in BOARDS["overview"]["annotations"]["list"]
    )
    stages = {curve.labels["stage"] for curve in begun}
    assert stages == {curve.labels["stage"] for curve in done}
    assert {"preflight", "backfill", "keys", "verify"} <= stages
    kinds = {curve.labels["kind"] for curve in actions}
    assert {"run", "confirm", "pause", "resume", "tune", "retry"} <= kinds


def test_every_variable_has_values(scraped: Scraped) -> None:
    for name, board in BOARDS.items():
        for variable in board["templating"]["list"]:
            if variable["type"] != "query":
                continue
            query = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert query is not None
            curves = scraped.prometheus.over(asked(query[1]), scraped.begun, scraped.ended)
            values = {curve.labels.get(query[2]) for curve in curves}
            assert values - {None}, (name, variable["name"])
            assert VARIABLES[f"${variable['name']}"] in {*values, ".+"}


def test_every_selector_of_every_alert_matches_a_series(scraped: Scraped) -> None:
    selectors = set(_selectors_of_rules((GRAFANA / "rules.yml").read_text()))
    assert len(selectors) > 20
    assert [each for each in sorted(selectors) if not _answers(scraped, each)] == []


def _selectors_of_rules(text: str) -> Iterator[str]:
    """The selectors of the expressions, which stand after `expr:`, on that line or on deeper ones."""
    deep = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if deep is not None and line.strip() and indent <= deep:
            deep = None
        if line.lstrip().startswith("expr:"):
            deep = indent
        if deep is not None and not line.lstrip().startswith("#"):
            yield from re.findall(r"tenantry[_:]\w+(?:\{[^}]*\})?", line)
