"""The table at the end."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from tests.soak.trend import Allowance, Sample, lines, trends

#: What a test calls with what it sampled, and what it allows.
Judge = Callable[[Sequence[Sample], Mapping[str, Allowance]], None]

_PROPERTY = "soak"


@pytest.fixture
def judge(record_property: Callable[[str, object], None]) -> Judge:
    """Puts the trends into the table, and fails where anything grew by more than is allowed."""

    def judged(samples: Sequence[Sample], allowances: Mapping[str, Allowance]) -> None:
        found = trends(samples, allowances)
        record_property(_PROPERTY, "\n".join(lines(found)))
        assert [trend for trend in found if trend.leaks] == []

    return judged


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The tables, of every test that came to its end."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in report.user_properties:
                if name == _PROPERTY:
                    terminalreporter.section(f"{report.nodeid.rpartition('::')[2]}, {report.duration:.0f} s")
                    terminalreporter.write_line(str(value))
