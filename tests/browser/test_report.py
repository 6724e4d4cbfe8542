"""The report as a browser shows it: in light and dark, on a phone, and on paper."""

import shutil
import subprocess
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from control.report.page import html
from tests.browser.reading import Page
from tests.reported import HOSTILE, account

pytestmark = pytest.mark.full

_GROUND = "return getComputedStyle(document.body).backgroundColor"
_WIDTHS = "return [document.documentElement.scrollWidth, innerWidth]"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_complained_of(page: Page, scheme: str) -> None:
    page.opened("dark" if scheme == "dark" else "light")
    assert page.ask("return document.querySelectorAll('section').length") >= 8
    assert page.complaints() == []


def test_the_file_is_all_that_is_read(page: Page) -> None:
    read = [url for url in page.opened().requests() if not url.startswith("data:")]
    assert read == [page.path.as_uri()]


@pytest.mark.parametrize("width", [360, 700, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(page: Page, scheme: str, width: int) -> None:
    contrasts = page.opened("dark" if scheme == "dark" else "light", width=width).contrasts()
    assert len(contrasts) > 100
    assert [found for found in contrasts if found[0] < 4.5] == []


def test_dark_is_dark_and_light_is_light(page: Page) -> None:
    assert page.opened("light").ask(_GROUND) == "rgb(255, 255, 255)"
    assert page.opened("dark").ask(_GROUND) == "rgb(18, 22, 27)"


@pytest.mark.parametrize("width", [320, 360, 414, 740, 991, 1000, 1200])
def test_nothing_reaches_out_of_the_screen(page: Page, width: int) -> None:
    wide, screen = page.opened(width=width).ask(_WIDTHS)
    assert screen == width
    assert wide <= screen
    page.ask("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.ask(_WIDTHS)[0] <= screen


def test_on_a_phone_each_value_says_what_it_is(page: Page) -> None:
    page.opened(width=360)
    cell = "document.querySelector('#tables ~ table td[data-name=Rows]')"
    assert page.ask(f"return getComputedStyle({cell}, '::before').content") == '"Rows: "'
    assert page.ask(f"return getComputedStyle({cell}).fontSize") == "14.4px"


def test_a_name_out_of_the_database_runs_nothing(browser: Chrome, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(html(account(name=HOSTILE)), encoding="utf-8")
    page = Page(browser, path).opened()
    assert HOSTILE in page.ask("return document.querySelector('h1').textContent")
    assert page.ask("return document.querySelectorAll('script, img').length") == 0
    assert page.complaints() == []


def test_a_printed_one_is_light_and_has_every_statement_and_query(page: Page, tmp_path: Path) -> None:
    page.opened("dark")
    page.as_if_printed()
    assert page.ask(_GROUND) == "rgb(255, 255, 255)"
    assert [found for found in page.contrasts() if found[0] < 4.5] == []
    page.opened("dark")
    pdf = page.printed()
    assert pdf.startswith(b"%PDF-")
    if (pdftotext := shutil.which("pdftotext")) is None:
        pytest.skip("pdftotext is not installed: apt-get install poppler-utils")
    (tmp_path / "report.pdf").write_bytes(pdf)
    read = [pdftotext, "-raw", str(tmp_path / "report.pdf"), "-"]
    text = subprocess.run(read, capture_output=True, check=True, text=True).stdout
    together = "".join(text.split())
    assert together.count("ALTERTABLE") == 3
    assert "SELECTgraph_entities" in together
    assert "wal_level=" in together
