"""The page in a browser (`make browser`): no error, no request, each interaction, both themes, a phone, axe-core."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")
pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from report_folders import HOSTILE, write_run

from dataprophet.metric import published
from dataprophet.report.build import write_report

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium: install it, or name it in CHROMIUM", allow_module_level=True)

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
_READY = 60_000


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Reports by name: a run with hostile names and texts, and the published matrix with its gains."""
    folder = tmp_path_factory.mktemp("pages")
    write_report(write_run(folder / "run"), folder / "run.html")
    gains = published.path("relative_improvement_percent")
    write_report(published.path("metric_scores"), folder / "published.html", gains=gains)
    return folder


@pytest.fixture
def opened(browser, pages):
    """Opens a report, and sees at the end that nothing was asked for and nothing went wrong."""
    contexts, seen = [], []

    def page(name, *, scheme="light", viewport=DESK):
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        made = context.new_page()
        made.on("console", lambda message: seen.append(message.text) if message.type == "error" else None)
        made.on("pageerror", lambda error: seen.append(str(error)))
        url = (pages / f"{name}.html").as_uri()
        made.on("request", lambda request: seen.append(request.url) if request.url[:5] != "data:" else None)
        made.goto(url)
        made.wait_for_selector("html[data-ready=yes]", state="attached", timeout=_READY)
        assert seen.pop(0) == url
        return made

    yield page
    for context in contexts:
        context.close()
    assert not seen


@pytest.mark.parametrize("name", ["run", "published"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, name, scheme):
    page = opened(name, scheme=scheme)
    page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true; })")
    found = Axe().run(page).response["violations"]
    assert not [
        (each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("name", ["run", "published"])
def test_a_phone_scrolls_down_only(opened, name):
    page = opened(name, viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_a_cell_opens_by_keyboard_and_by_mouse(opened):
    page = opened("run")
    page.focus("#heat td[tabindex='0']")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#cell").is_visible()
    title = page.locator("#cell-title").inner_text()
    row = page.locator("#heat tbody tr").nth(1).locator("th").inner_text()
    assert title == f"{row} → {page.locator('#heat thead button').nth(1).inner_text()}"
    told = page.locator("#cell-body").inner_text()
    assert "rank" in told
    assert "95% interval" in told
    assert "would pass" in told
    page.keyboard.press("Escape")
    assert not page.locator("#cell").is_visible()
    assert page.evaluate("document.activeElement.tagName") == "TD"
    page.locator("#heat tbody td").first.click()
    page.get_by_role("button", name="Close").click()
    assert not page.locator("#cell").is_visible()


def test_a_target_is_chosen_and_sorts(opened):
    page = opened("published")
    chart = page.locator("figure[data-chart=ranking] .plot svg")
    before = chart.inner_html()
    page.select_option("#target", index=3)
    page.wait_for_selector("figure[data-chart=ranking][data-drawn='target/3']", state="attached", timeout=_READY)
    assert chart.inner_html() != before
    name = page.locator("#heat thead button").nth(3).inner_text()
    assert page.locator("figure[data-chart=ranking] [data-target-name]").inner_text() == name
    names = page.locator("#heat tbody th")
    original = names.all_inner_texts()
    page.locator("#heat thead button").nth(3).click()
    matrix = published.matrix("metric_scores")
    assert names.all_inner_texts() == [matrix.sources[i] for i in matrix.order(name)]
    assert page.locator("#heat thead th[aria-sort=descending]").count() == 1
    page.locator("#heat thead button").nth(3).click()
    assert names.all_inner_texts() == original


@pytest.mark.parametrize("viewport", [DESK, PHONE])
def test_no_name_of_a_point_covers_another(opened, viewport):
    page = opened("published", viewport=viewport)
    names = page.locator("figure[data-chart=agreement] .mark-text.role-mark text:visible")
    boxes = [names.nth(number).bounding_box() for number in range(names.count())]
    assert 5 < len(boxes) <= 14
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            across = abs(one["x"] + one["width"] / 2 - other["x"] - other["width"] / 2)
            down = abs(one["y"] + one["height"] / 2 - other["y"] - other["height"] / 2)
            assert across >= (one["width"] + other["width"]) / 2 or down >= (one["height"] + other["height"]) / 2 - 2


def test_each_chart_has_its_numbers(opened):
    page = opened("run")
    figures = page.locator("figure[data-chart]")
    assert figures.count() > 8
    for number in range(figures.count()):
        figure = figures.nth(number)
        figure.evaluate("each => { each.querySelector('details.rows').open = true; }")
        figure.locator("table tbody tr").first.wait_for(state="attached")
        assert figure.locator(".plot svg").count() == 1


def test_the_theme_is_that_of_the_system_until_the_button_says_otherwise(opened):
    page = opened("run", scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme")
    light = page.evaluate(ground)
    assert light == "rgb(255, 255, 255)" != dark
    page.click("#theme")
    assert page.evaluate(ground) == dark


def test_markup_is_shown_as_text(opened):
    page = opened("run")
    assert page.evaluate("window.hacked === undefined")
    assert not page.locator("[src=x], [onerror], main script").count()
    assert HOSTILE in page.locator("#heat").inner_text()
    assert HOSTILE in page.locator("#diversity").inner_text()
    page.locator("figure[data-chart=ranking] .plot svg .mark-rect path").first.hover()
    page.locator("#vg-tooltip-element.visible").wait_for()
    assert not page.locator("#vg-tooltip-element img").count()


def test_it_prints_what_is_folded(opened):
    page = opened("run")
    page.emulate_media(media="print")
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")
    assert page.locator("details.item:not([open])").count() == 0


def test_scores_in_the_page_are_those_of_the_matrix(opened):
    page = opened("published")
    matrix = published.matrix("metric_scores")
    cells = page.locator("#heat tbody td").all_inner_texts()
    shown = np.array([float(text.removeprefix("★ ")) for text in cells]).reshape(matrix.shape)
    np.testing.assert_allclose(shown, matrix.values, rtol=1e-3)
