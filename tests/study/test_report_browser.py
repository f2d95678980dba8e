"""The report in a browser: quiet, alone, drawn, sorting, filtering, and no wider than a phone."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
from study_folders import NASTY, write_study

from concord.study.pages.report import write_comparison, write_report

pytestmark = pytest.mark.docs

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

if BROWSER is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    plain = write_report(write_study(root / "plain"))
    wide = write_study(
        root / "wide",
        tasks=(f"{NASTY} with a very long name", "s" * 70),
        regimes={f"regime-{i}-of-a-long-name": (50 * i, 600) for i in range(1, 6)},
        conditions=("single-task", "uncoupled", *(f"a-condition-with-a-long-name-{i}" for i in range(9))),
        labels=40,
        title="Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen und Kinderlähmungsschluckimpfungen",
        seeds=2,
    )
    folders = [write_study(root / name) for name in ("first", "second")]
    return {
        "plain": plain,
        "wide": write_report(wide),
        "several": write_comparison(folders, root / "several.html"),
    }


@pytest.fixture
def opened(browser):
    """Opens a page; at the end nothing may have been complained of and nothing fetched."""
    complaints, requests, contexts = [], [], []

    def at(path, width=1280, scheme="light", **more):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    yield at
    for context in contexts:
        context.close()
    assert not complaints
    assert {url for url in requests if not url.startswith("data:")} <= {
        url for url in requests if "file://" in url
    }


def column(page, table, name):
    """Texts of a column in the rows that are shown."""
    return page.eval_on_selector(
        f"#{table} table",
        """(table, name) => {
          const i = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.trim() === name);
          const rows = [...table.tBodies[0].rows].filter((row) => row.checkVisibility());
          return rows.map((row) => row.cells[i].textContent);
        }""",
        name,
    )


def axe_script():
    """axe-core as an installed package of Python carries it."""
    package = find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        pytest.skip("axe-playwright-python is not installed")
    return (Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["plain", "several"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened, pages, name, scheme):
    page = opened(pages[name], scheme=scheme, bypass_csp=True)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    page.wait_for_function("document.querySelector('#all-rows table') !== null")
    page.evaluate(axe_script())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 20, "it looked"
    assert [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in found["violations"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_in_pictures_stands_out_from_what_is_under_it(opened, pages, scheme):
    """axe-core does not look into drawings."""
    page = opened(pages["plain"], scheme=scheme)
    lowest = page.evaluate(
        """() => {
          const parse = (text) => {
            const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
            return text.startsWith("color(") ? [255 * r, 255 * g, 255 * b] : [r, g, b];
          };
          const light = (rgb) => {
            const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            const [r, g, b] = rgb.map((v) => linear(v / 255));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const card = parse(getComputedStyle(document.querySelector(".panel")).backgroundColor);
          const found = {};
          for (const text of document.querySelectorAll("svg.plot text")) {
            if (!text.checkVisibility()) continue;
            let under = card;
            if (text.classList.contains("cell")) {
              const box = text.previousElementSibling, share = Number(box.getAttribute("fill-opacity"));
              under = parse(getComputedStyle(box).fill).map((v, i) => share * v + (1 - share) * card[i]);
            }
            const [a, b] = [light(parse(getComputedStyle(text).fill)), light(under)];
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            const look = text.getAttribute("class");
            found[look] = Math.min(found[look] ?? 99, contrast);
          }
          return found;
        }"""
    )
    assert {"cell", "end", "tick", "name", "value", "side"} <= {
        word for look in lowest for word in look.split()
    }
    assert {look: contrast for look, contrast in lowest.items() if contrast < 4.5} == {}


def test_few_tab_stops_and_arrows_within_a_group(opened, pages):
    page = opened(pages["plain"])
    stops = "[...document.querySelectorAll('*')].filter((e) => e.tabIndex >= 0 && e.checkVisibility()).length"
    found = page.evaluate(stops)
    assert found <= 80
    assert page.locator("[data-trace]").count() > found, "what leads to runs is no stop of its own"
    page.locator("#verdict .board:visible [data-trace]").first.focus()
    here = "[document.activeElement.dataset.condition, document.activeElement.cellIndex]"
    start = page.evaluate(here)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(here) == ["paper", start[1]]
    page.keyboard.press("ArrowRight")
    assert page.evaluate(here) == ["paper", start[1] + 1]
    page.keyboard.press("Enter")
    assert "paper against single-task" in page.locator("dialog").text_content()
    page.keyboard.press("Escape")
    page.locator("#table-verdicts input[type=search]").fill("segments")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('tr:not([hidden])')"), (
        "the stop moves to a shown row"
    )


@pytest.mark.parametrize("name", ["plain", "wide", "several"])
def test_wide_tables_scroll_in_their_boxes_on_a_desk(opened, pages, name):
    page = opened(pages[name], width=1280)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    page.wait_for_function("document.querySelector('#all-rows table') !== null")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    cut = page.eval_on_selector_all(
        "table",
        """all => all.filter((e) => e.checkVisibility() && e.scrollWidth > 0).filter((e) => {
          const box = e.closest(".scroll, .card");
          return !box || (e.offsetWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "auto");
        }).length""",
    )
    assert cut == 0


def test_paper_is_about_ten_pages(opened, pages):
    page = opened(pages["plain"])
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    printed = len(re.findall(rb"/Type\s*/Page[^s]", page.pdf()))
    assert 3 <= printed <= 12
    page.emulate_media(media="print")
    assert page.locator("details.screen:visible").count() == 0
    long = opened(pages["wide"])
    long.emulate_media(media="print")
    assert long.locator("#table-verdicts tbody tr:visible").count() == 24
    assert "more rows are in the page itself" in long.eval_on_selector(
        "#table-verdicts", "(e) => getComputedStyle(e, '::after').content"
    )


def value(text):
    return float(text.replace("\N{MINUS SIGN}", "-"))


@pytest.mark.parametrize("name", ["plain", "wide", "several"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_sideways_scrolling(opened, pages, name, scheme):
    page = opened(pages[name], width=375, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    page.wait_for_function("document.querySelector('#all-rows table') !== null")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    # `overflow: hidden` would hide the fault that this looks for.
    assert page.evaluate(
        "[document.documentElement, document.body].map((e) => getComputedStyle(e).overflowX)"
    ) == [
        "visible",
        "visible",
    ]


def test_plots_are_drawn_with_size_and_colour(opened, pages):
    page = opened(pages["plain"])
    boxes = page.eval_on_selector_all(
        "svg.plot",
        "all => all.filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect().toJSON())",
    )
    assert len(boxes) >= 15
    assert all(box["width"] > 100 and box["height"] > 60 for box in boxes)
    colours = page.evaluate(
        "['superior', 'inferior'].map((v) => getComputedStyle(document.querySelector(`.v-${v} .mark`)).fill)"
    )
    assert colours[0] != colours[1]
    assert "none" not in colours


def test_themes_differ_and_text_stays_readable(opened, pages):
    def contrast(page):
        return page.evaluate(
            """() => {
              const light = (element, what) => {
                const [r, g, b] = getComputedStyle(element)[what].match(/[\\d.]+/g).map((v) => {
                  v /= 255;
                  return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
                });
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const ground = light(document.body, "backgroundColor");
              return ["body", ".how", ".facts"].map((name) => {
                const ink = light(document.querySelector(name), "color");
                return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
              }).concat(ground);
            }"""
        )

    *light, paper = contrast(opened(pages["plain"], scheme="light"))
    *dark, night = contrast(opened(pages["plain"], scheme="dark"))
    assert paper > 0.8
    assert night < 0.1
    assert min(light + dark) >= 4.5


def test_tables_sort(opened, pages):
    page = opened(pages["plain"])
    button = page.locator("#table-verdicts th button", has_text="difference")
    button.click()
    up = [value(text) for text in column(page, "table-verdicts", "difference")]
    assert up == sorted(up)
    assert len(set(up)) > 5
    button.click()
    assert [value(text) for text in column(page, "table-verdicts", "difference")] == up[::-1]
    page.locator("#table-verdicts th button", has_text="verdict").click()
    order = {"better": 0, "not worse": 1, "undecided": 2, "worse": 3}
    verdicts = [order[text] for text in column(page, "table-verdicts", "verdict")]
    assert verdicts == sorted(verdicts)


def test_tables_filter(opened, pages):
    page = opened(pages["plain"])
    figure = page.locator("#table-verdicts")
    figure.locator("select[name=condition]").select_option("paper")
    assert set(column(page, "table-verdicts", "condition")) == {"paper"}
    figure.locator("select[name=baseline]").select_option("uncoupled")
    assert set(column(page, "table-verdicts", "baseline")) == {"uncoupled"}
    assert "4 of 20 rows" in figure.locator("output").text_content()
    figure.locator("input[type=search]").fill("segments")
    assert set(column(page, "table-verdicts", "task")) == {"segments"}
    figure.locator("input[type=search]").fill("nothing is called this")
    assert column(page, "table-verdicts", "task") == []


def test_one_baseline_at_a_time_and_all_on_paper(opened, pages):
    page = opened(pages["plain"])
    shown = "all => [...new Set(all.filter((e) => e.checkVisibility()).map((e) => e.dataset.against))]"
    assert page.eval_on_selector_all("[data-against]", shown) == ["single-task"]
    page.locator("#differences .switch button", has_text="uncoupled").click()
    assert page.eval_on_selector_all("[data-against]", shown) == ["uncoupled"]
    page.emulate_media(media="print")
    assert page.eval_on_selector_all("[data-against]", shown) == ["single-task", "uncoupled"]
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#confusion details:not([open])").count() == 0


def test_on_paper_headings_stand_outside_their_buttons(opened, pages):
    page = opened(pages["plain"])
    titles = page.locator("#table-verdicts th").all_text_contents()
    page.emulate_media(media="print")
    assert page.locator("#table-verdicts th button:visible").count() == 0
    assert page.locator(".pointing:visible").count() == 0, "nothing can be clicked there"
    drawn = page.eval_on_selector_all(
        "#table-verdicts th", "all => all.map((e) => getComputedStyle(e, '::before').content.slice(1, -1))"
    )
    assert drawn == titles
    assert "difference" in drawn


def test_names_of_tasks_stay_whole_beside_a_sample(opened, pages):
    page = opened(pages["plain"])
    lines = page.eval_on_selector_all(
        ".card dt",
        """all => all.filter((e) => e.checkVisibility()).map((e) => {
          const range = document.createRange();
          range.selectNodeContents(e);
          return range.getClientRects().length;
        })""",
    )
    assert set(lines) == {1}


def test_a_number_shows_the_rows_behind_it(opened, pages):
    page = opened(pages["plain"])
    mark = page.locator("#differences .effect[data-condition=posterior][data-regime=balanced]:visible").first
    said = mark.locator(".value").text_content()
    mark.click()
    dialog = page.locator("dialog")
    assert "posterior against single-task, balanced, digit, accuracy" in dialog.text_content()
    assert dialog.locator("tbody tr").count() == 4
    assert value(dialog.locator("tfoot td").nth(3).text_content()) == pytest.approx(value(said), abs=0.05)
    page.keyboard.press("Escape")
    row = page.locator("#table-delta tbody tr").first
    row.focus()
    page.keyboard.press("Enter")
    assert dialog.locator("tbody tr").count() == 8  # both tasks, by their own metrics


def test_rows_of_several_studies_are_told_apart(opened, pages):
    page = opened(pages["several"])
    page.locator(".effect[data-study=second]:visible").first.click()
    assert "second" in page.locator("dialog h2").text_content()
    assert page.locator("dialog tbody tr").count() == 4


def test_all_rows_of_the_results(opened, pages):
    page = opened(pages["plain"])
    page.locator("#all-rows summary").click()
    page.wait_for_selector("#all-rows tbody tr")
    rows = page.locator("#all-rows tbody tr")
    assert rows.count() == 2 * 4 * 4 * 2 * 2
    page.locator("#all-rows select[name=metric]").select_option("accuracy")
    assert page.locator("#all-rows tbody tr:visible").count() == 2 * 4 * 4


def test_samples_are_chosen_by_who_is_right(opened, pages):
    page = opened(pages["plain"])
    cards = page.locator(".card:visible")
    assert cards.count() == 9
    page.locator("#gallery-more").click()
    assert cards.count() == 12
    page.locator("#gallery-agree").select_option("no")
    assert cards.count() == 6
    page.locator("#gallery-eye").select_option("single-task")
    assert page.locator("#gallery-count").text_content() == "6 of 12 samples"
    page.locator("#gallery-who").select_option("no head right")
    assert cards.count() == 0


def test_a_condition_stands_out_in_all_curves(opened, pages):
    page = opened(pages["plain"])
    page.locator("#curves .keys button", has_text="posterior").first.click()
    lit = page.eval_on_selector_all(".curve.lit .end", "all => [...new Set(all.map((e) => e.textContent))]")
    assert lit == ["posterior"]
    page.locator("#curves .keys button", has_text="posterior").first.click()
    page.mouse.move(0, 0)
    assert not page.evaluate("document.body.classList.contains('focus')")


def test_a_long_table_of_the_evidence_is_searched_and_sorted(browser, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import search_table

    frame = pl.DataFrame({"pack": ["digits", "</script>", "digits"], "points": [2.5, 9.0, 10.0]})
    search_table.write(frame, tmp_path / "all", "All", "A row is a row.")
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if request.url[:5] != "file:" else None)
    page.goto((tmp_path / "all.html").as_uri())
    assert page.inner_text("#count") == "3 of 3 rows"
    page.fill("#words", "digits")
    page.click("th:nth-child(2) button")
    page.click("th:nth-child(2) button")
    assert page.inner_text("tbody").split() == ["digits", "10", "digits", "2.5"], "numbers are no text"
    assert errors == []
