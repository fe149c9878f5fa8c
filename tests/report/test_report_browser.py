"""The page in a real browser: it sorts, filters, changes its theme, shows each figure, leads somewhere."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import report_store as rs

from kdbench import report

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()
METHODS = ("original", "hinton", "bss", "byot", "<i>odd</i>", "rkd")


@pytest.fixture(scope="module")
def index(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    setting = rs.Setting(methods=METHODS, fractions=(1.0, 0.2), trials=12, extras=True)
    uri = rs.insert(rs.runs(setting), empty_database, folder, {"synthetic": rs.plan(setting)})
    return report.make(["synthetic"], uri=uri, out=folder / "report")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop-light", "phone-dark"])
def page(request, browser, index: Path) -> Iterator:
    width, theme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(request.url))
    page.goto(index.as_uri())
    yield page
    assert said == []
    context.close()


def column(page, number: int) -> list[str]:
    rows = "#table-0 tbody tr:not([hidden])"
    return page.eval_on_selector_all(rows, f"rows => rows.map(row => row.cells[{number}].innerText.trim())")


def test_every_figure_is_seen_and_the_page_is_no_wider_than_the_screen(page) -> None:
    page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")
    figures = page.locator("figure")
    assert figures.count() > 20
    for place in range(figures.count()):
        drawing = figures.nth(place).locator("svg").first
        box = drawing.bounding_box()
        assert drawing.is_visible() and box is not None and box["width"] > 200 and box["height"] > 80
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_tables_sort_by_keyboard_and_say_so(page) -> None:
    head = page.locator("#table-0 thead th").nth(1)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    means = [float(cell.split()[0]) for cell in column(page, 1)]
    assert means == sorted(means, reverse=True) and len(means) == len(METHODS)
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(cell.split()[0]) for cell in column(page, 1)] == sorted(means)
    page.locator("#table-0 thead button").first.click()
    assert column(page, 0) == sorted(METHODS, key=str.casefold)
    assert head.get_attribute("aria-sort") == "none"


def test_tables_filter(page) -> None:
    page.locator('input[data-filter="table-0"]').fill("BSS")
    assert column(page, 0) == ["bss"]
    assert page.locator('[data-count="table-0"]').inner_text() == f"1 of {len(METHODS)} rows"


def test_paper_shows_what_is_folded_on_the_screen(page) -> None:
    assert page.locator("details.smaller").get_attribute("open") is None
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.smaller table").is_visible()
    assert not page.locator("#theme").is_visible() and not page.locator("#runs table").is_visible()
    page.set_viewport_size({"width": 1031, "height": 900})  # A4 across, less the margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 1031


# Every text whose contrast with what lies behind it is below 4.5, WCAG's level AA.
FAINT = """() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (node) => {
    const colour = parse(getComputedStyle(node).backgroundColor);
    return colour.length === 3 || !node.parentElement ? colour : ground(node.parentElement);
  };
  const text = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  return [...document.querySelectorAll("body *:not(script)")].filter(text).flatMap((node) => {
    const style = getComputedStyle(node);
    const ink = parse(node instanceof SVGElement ? style.fill : style.color);
    const [low, high] = [luminance(ink), luminance(ground(node))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    return ratio < 4.5 ? [`${node.textContent.trim().slice(0, 40)} ${ratio.toFixed(2)}`] : [];
  });
}"""


def test_all_text_can_be_read(page) -> None:
    page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")
    assert page.evaluate(FAINT) == []
    page.locator("#theme").click()
    assert page.evaluate(FAINT) == []


def test_figures_and_tables_say_what_they_are(page) -> None:
    words = page.eval_on_selector_all(
        "figure [role=img]", "all => all.map(each => each.getAttribute('aria-label'))"
    )
    assert len(words) == page.locator("figure").count()
    assert all(len(each) > 30 and not each.rstrip().endswith(".") for each in words), "a title and the data"
    tables = page.locator("table.sortable")
    assert tables.count() > 5
    for place in range(tables.count()):
        assert len(tables.nth(place).locator("caption").text_content()) > 20
        assert tables.nth(place).locator("thead th[scope=col][aria-sort]").count() > 1
        names = tables.nth(place).locator("tbody tr > th[scope=row]")
        assert names.count() == tables.nth(place).locator("tbody tr").count()


def test_no_table_is_cut_on_a_desktop(page) -> None:
    page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")
    wider = page.eval_on_selector_all(
        ".scroll", "all => all.filter(each => each.scrollWidth > each.clientWidth + 1).length"
    )
    assert wider == 0 or page.viewport_size["width"] < 1280
    assert page.eval_on_selector_all(".scroll", "all => all.every(each => each.tabIndex === 0)")


def test_the_theme_changes(page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(background)
    page.locator("#theme").click()
    assert page.evaluate(background) != before


def test_links_resolve(page, index: Path) -> None:
    links = page.eval_on_selector_all("a[href]", "all => all.map(each => each.getAttribute('href'))")
    assert len(links) > 100
    for link in set(links):
        if link.startswith("#"):
            assert page.evaluate("id => document.getElementById(id) !== null", unquote(link[1:])), link
        else:
            assert (index.parent / unquote(link)).is_file(), link
    page.locator("#table-0 tbody a").first.click()
    assert page.locator("#runs").get_attribute("open") is not None, "the list of runs opens at the row"
    assert page.locator("tr:target").is_visible()
