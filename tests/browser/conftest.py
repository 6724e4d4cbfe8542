"""Debian's Chromium, as a reader uses it. Without it these tests are skipped, and fail where CI=true."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from control.report.page import html
from tests.browser.reading import Page
from tests.reported import account

_PROGRAMS = ("chromium", "chromedriver")


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """One browser for all tests of a process, without a window."""
    found = [shutil.which(program) for program in _PROGRAMS]
    if None in found:
        missing = "chromium is not installed: apt-get install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    options = ChromeOptions()
    options.binary_location = str(found[0])
    options.add_argument("--headless")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium has none for root, which tests in a container are
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(str(found[1])))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(browser: Chrome, tmp_path: Path) -> Page:
    """A report of a migration in all its parts, as a file that is opened."""
    path = tmp_path / "report.html"
    path.write_text(html(account(name="graph_entities_with_a_long_name_" * 2)), encoding="utf-8")
    return Page(browser, path)
