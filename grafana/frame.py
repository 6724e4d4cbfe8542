"""What every dashboard has around its panels: variables, annotations, links to the others, its time."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.dashboard import VariableRefresh, VariableSort

from control.exported.series import (
    EVENT,
    MIGRATION_STATE,
    STAGE_FINISHED,
    STAGE_STARTED,
    TABLE_ROWS_REMAINING,
    UP,
)
from grafana.panels import BLUE, GREEN, ORANGE, SOURCE, Panel
from grafana.queries import exported, named
from worker import metrics

#: What an operator does to a migration, as the audit calls it.
ACTIONS = 'kind=~"run|confirm|pause|resume|cancel|tune|retry|rollback|tenants|assign"'

_TAG = "tenantry"

#: Above the panels, and not in the menu of controls, where newer versions of Grafana would put them.
_IN_SIGHT = ""

#: A row's title and its panels.
Rows = Sequence[tuple[str, Sequence[Panel]]]


def framed(
    name: str, question: str, rows: Rows, *, runbook: str, of_a_table: bool = False
) -> board.Dashboard:
    """Make a dashboard; `question` is what it answers, `of_a_table` whether it is of one table at a time."""
    made = (
        board.Dashboard(f"Tenantry: {name}")
        .uid(f"tenantry-{name.lower()}")
        .description(question)
        .tags([_TAG])
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .link(_others())
        .link(_runbook())
    )
    for variable in _variables(runbook, of_a_table=of_a_table):
        made.with_variable(variable)
    for annotation in _annotations():
        made.annotation(annotation)
    number = 0
    for title, panels in rows:
        number += 1
        made.with_row(board.Row(title).id(number).collapsed(False))
        for panel in panels:
            number += 1
            made.with_panel(panel.id(number))
    return made


def _variables(
    runbook: str, *, of_a_table: bool
) -> list[board.DatasourceVariable | board.QueryVariable | board.ConstantVariable]:
    # Without matchers of the variables that are chosen after it.
    anybody = f'{{__name__=~"{UP.name}|{named(metrics.MESSAGES)}"}}'
    of_it = f'{TABLE_ROWS_REMAINING.name}{{migration="$migration"}}'
    return [
        board.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _labels("migration", "Migration", f"label_values({MIGRATION_STATE.name}, migration)"),
        *([_labels("table", "Table", f"label_values({of_it}, table)")] if of_a_table else []),
        _several("job", "Job", f"label_values({anybody}, job)"),
        _several("instance", "Instance", f'label_values({anybody[:-1]}, job=~"$job"}}, instance)'),
        board.ConstantVariable("runbook").label("Address of the runbook").value(runbook),
    ]


def _labels(name: str, label: str, query: str) -> board.QueryVariable:
    return (
        board.QueryVariable(name)
        .label(label)
        .query({"query": query, "refId": name})
        .definition(query)
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _several(name: str, label: str, query: str) -> board.QueryVariable:
    everything = dashboard.VariableOption(selected=True, text="All", value="$__all")
    return _labels(name, label, query).multi(True).include_all(True).all_value(".+").current(everything)


def _annotations() -> list[board.AnnotationQuery]:
    """Lines across the panels, each at the time that is its series' value.

    Grafana makes one event of values that are at most a `step` apart, and with `useValueForTime` takes them
    for times in milliseconds.
    """
    return [
        _annotation("Stages begun", exported(STAGE_STARTED), "{{stage}} begins", BLUE, "stage"),
        _annotation("Stages done", exported(STAGE_FINISHED), "{{stage}} is done", GREEN, "stage"),
        _annotation("Operator", exported(EVENT, ACTIONS), "tenantry {{kind}}", ORANGE, "kind"),
    ]


def _annotation(name: str, selector: str, title: str, colour: str, tags: str) -> board.AnnotationQuery:
    return (
        board.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(True)
        .hide(False)
        .icon_color(colour)
        .expr(f"{selector} * 1000")
        .step("15s")
        .use_value_for_time(True)
        .title_format(title)
        .text_format("{{migration}}")
        .tag_keys(tags)
        .placement(_IN_SIGHT)
    )


def _others() -> board.DashboardLink:
    return (
        board.DashboardLink("Tenantry")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([_TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
        .placement(_IN_SIGHT)
    )


def _runbook() -> board.DashboardLink:
    return (
        board.DashboardLink("Runbook")
        .type(dashboard.DashboardLinkType.LINK)
        .icon("doc")
        .tooltip("What to do about each alert")
        .url("${runbook}")
        .target_blank(True)
        .placement(_IN_SIGHT)
    )
