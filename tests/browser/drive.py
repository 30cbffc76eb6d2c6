"""Drives a page of `loopscope report` in headless Chromium: drive.py PAGE.html FOLDER-FOR-SCREENSHOTS

Prints `skipped: why` where there is no browser or no Playwright, else a line a check, and exits with 1 where one failed.
What is read off the page is held against the block of data in it, which the Rust test holds against the result files.
"""

import csv
import io
import json
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from decimal import ROUND_HALF_UP, Decimal
from importlib.util import find_spec
from pathlib import Path

page_path, shots = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if find_spec("playwright") is None or find_spec("axe_playwright_python") is None:
    sys.exit(print("skipped: Playwright and axe are not installed (pip install playwright axe-playwright-python)"))
if chromium is None:
    sys.exit(print("skipped: there is no Chromium (Debian: apt-get install chromium)"))

from playwright.sync_api import sync_playwright

AXE = (Path(find_spec("axe_playwright_python").origin).parent / "axe.min.js").read_text()
text = page_path.read_text()
data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S).group(1))
failed, noise = [], []


def check(name, ok, note=""):
    print("ok  " if ok else "FAIL", name, note)
    if not ok:
        failed.append(name)


def fixed(x, digits=3):
    # As a browser rounds: halves of the decimal digits away from zero.
    number = f"{Decimal(str(abs(x))).quantize(Decimal(10) ** -digits, ROUND_HALF_UP):,}"
    return ("−" if x < 0 and re.search("[1-9]", number) else "") + number


def open_page(browser, width=1280, link="", **options):
    page = browser.new_context(viewport={"width": width, "height": 900}, **options).new_page()
    page.on("console", lambda message: noise.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:")) or noise.append(request.url))
    page.goto(f"{page_path.as_uri()}{link}")
    page.wait_for_selector("svg[role=img]")
    page.wait_for_timeout(300)
    return page


def near(picture):
    # The figure itself, which stays when its drawing is made anew. Pictures far from the screen are drawn when they come near.
    picture.evaluate("p => p.scrollIntoView({ block: 'center', behavior: 'instant' })")
    picture.page.wait_for_timeout(300)


def accessible(page, name):
    # Also what is folded away at first: of every section a table, and how its method can mislead.
    page.evaluate("""() => {
        const parts = [...document.querySelectorAll('section')].flatMap(s => ['.data', '.misleads'].map(
            kind => [...s.querySelectorAll(`details${kind}:not([open])`)].find(part => part.checkVisibility())));
        window.folded = parts.filter(part => part);
        folded.forEach(part => part.open = true);
    }""")
    page.wait_for_timeout(200)
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    page.evaluate("folded.forEach(part => part.open = false)")
    bad = [f"{v['impact']}: {v['id']} {v['nodes'][0]['target']}" for v in found]
    check(f"axe: {name}", not any(line.startswith(("serious", "critical")) for line in bad), "; ".join(bad))


def sliders(page):
    moments = data["moments"]
    stage, now = page.locator("#stage"), page.locator("#stage-now")
    check("the slider says where it is", stage.get_attribute("aria-valuetext") == moments[-1]["label"])
    stage.focus()
    page.keyboard.press("ArrowLeft")
    check("a key moves the slider", now.inner_text() == moments[-2]["label"], now.inner_text())
    stage.click(position={"x": 3, "y": 10})
    check("the mouse moves the slider", stage.input_value() == "1" and "stage=1" in page.url, page.url)
    page.locator("#play").click()
    page.wait_for_timeout(1500 * len(moments))
    check("playing ends at the last checkpoint", stage.input_value() == str(len(moments)))


def cells(page):
    figure = page.locator('figure[data-of="patch"][data-k="0"][data-run="0"]')
    last = data["moments"][-1]["at"][0]["checkpoint"]
    panel = next(f for f in data["results"]["patch"]["figures"] if (f["run"], f["checkpoint"]) == (0, last))["panels"][0]
    figure.locator("svg[role=img]").focus()
    near(figure)
    figure.locator("svg[role=img]").focus()
    page.keyboard.press("Home")
    wrong = []
    for i, row in enumerate(panel["cells"]):
        for j, value in enumerate(row):
            said = page.locator("#live").inner_text()
            if panel["rows"][i] not in said or panel["columns"][j] not in said or (value is not None and fixed(value) not in said):
                wrong.append((said, panel["rows"][i], panel["columns"][j], value))
            page.keyboard.press("ArrowRight")
    check("cells that are read equal the data", not wrong, str(wrong[:2]))
    # The table is made when its part has opened, which the page is told of after the click.
    figure.locator("summary").click()
    figure.locator("tbody tr").first.wait_for()
    shown = [[cell.inner_text() for cell in row.locator("td").all()] for row in figure.locator("tbody tr").all()]
    check("the table has every cell", len(shown) == sum(len(row) for row in panel["cells"]), str(shown[:2]))


def queries(page):
    listed = data["queries"]["list"]
    index = len(listed) - 1
    typed = page.locator("#typed")
    typed.fill(listed[index]["words"])
    page.keyboard.press("Enter")
    check("a typed query is shown", page.locator("#about").inner_text() == listed[index]["about"])
    last = data["moments"][-1]["at"][0]["checkpoint"]
    view = next(v for v in data["queries"]["views"] if (v["query"], v["run"], v["checkpoint"]) == (index, 0, last))
    grid = page.locator('figure[data-of="query"][data-k="grid"][data-run="0"] svg[role=img]')
    near(page.locator('figure[data-of="query"][data-k="grid"][data-run="0"]'))
    tokens = grid.evaluate("s => [...s.querySelectorAll('text.middle.strong')].map(t => t.textContent)")
    expected = [data["queries"]["vocab"][cell[0][0]] for row in view["lens"] for cell in row]
    check("the grid shows the top-1 tokens of the data", tokens == expected, str(tokens[:4]))
    iteration = page.locator("#iteration")
    iteration.focus()
    page.keyboard.press("Home")
    check("the iteration has its text", iteration.get_attribute("aria-valuetext").startswith("iteration 1 of"))
    layers = view["layers"]
    attention = page.locator('figure[data-of="query"][data-k="attention"][data-run="0"] svg[role=img]')
    near(page.locator('figure[data-of="query"][data-k="attention"][data-run="0"]'))
    weights = attention.evaluate("s => [...s.querySelectorAll('text.value')].map(t => t.textContent)")
    expected = [fixed(w / 1000, 2) for matrix in view["attention"][:layers] for row in matrix for w in row if w is not None]
    if weights:
        check("attention is that of the iteration", weights == expected, str(weights[:4]))
    else:
        # Narrow cells have no numbers in them.
        attention.focus()
        page.keyboard.press("Home")
        said = page.locator("#live").inner_text()
        check("attention is that of the iteration", fixed(view["attention"][0][0][0] / 1000) in said, said)
    typed.fill("nothing at all")
    page.keyboard.press("Tab")
    check("an unknown query gets a sentence", page.locator("#unknown").is_visible())


def sweep(page):
    points = data["results"]["points"]["figures"][0]["panels"][0]
    figure = page.locator('figure[data-of="points"]')
    body = lambda: [[cell.inner_text() for cell in row.locator("td").all()] for row in figure.locator("tbody tr").all()]
    rows = body()
    check("the table of points is open and has every point", [row[1] for row in rows] == [stop["rows"][0][2][1] for stop in points["stops"]], str(rows[:1]))
    check("each point has the command of its own page", all(row[-1].startswith("loopscope report ") for row in rows))
    button = figure.locator("th button").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    names = [row[1] for row in body()]
    check("a key sorts the table, and again the other way", names == sorted(names, reverse=True), str(names))
    check("the heading keeps the focus", button.evaluate("b => b === document.activeElement || b.closest('th').contains(document.activeElement)"))
    curves = page.locator('figure[data-of="training"][data-k="0"]')
    curves.locator("svg[role=img]").focus()
    page.keyboard.press("Home")
    page.keyboard.press("End")
    panel = data["results"]["training"]["figures"][0]["panels"][0]
    last = max(point[0] for line in panel["series"] for point in line["points"])
    told = [fixed(point[1]) for line in panel["series"] if line["stroke"] != "thin" for point in line["points"] if point[0] == last]
    said = page.locator("#live").inner_text()
    check("the medians are read, not each run", said.count(";") == len(told) and all(number in said for number in told), said)
    curves.locator("summary").click()
    curves.locator("tbody tr").first.wait_for()
    shown = curves.locator("tbody tr").count()
    check("the table has every run", shown == sum(len(line["points"]) for line in panel["series"]), str(shown))
    page.locator("input[value=log]").check()
    page.locator("#run").select_option(index=1)
    hidden = page.locator('figure[data-of="lens"][data-run="1"]').first
    check("a set of values can be chosen alone", not hidden.is_visible() and page.locator('figure[data-of="lens"][data-run="0"]').first.is_visible())


def links(browser):
    words = data["queries"]["list"][0]["words"].replace(" ", "+")
    page = open_page(browser, link=f"#query={words}&stage=1&iteration=1&scale=log")
    before = page.evaluate("scrollY")
    page.locator("nav a[href='#query']").click()
    page.wait_for_timeout(300)
    kept = page.locator("#typed").input_value()
    check("a link to a section keeps the state and adds the section", kept and not page.locator("#unknown").is_visible() and "stage=1" in page.url and "at=query" in page.url, page.url)
    page.reload()
    page.wait_for_selector("svg[role=img]")
    page.wait_for_timeout(2500)
    top = page.evaluate("document.getElementById('query').getBoundingClientRect().top")
    check("a state is opened at its section", page.evaluate("scrollY") > before and abs(top) < 300, f"{top} {page.url}")
    at_section = open_page(browser, link="#query", reduced_motion="reduce")
    at_section.wait_for_timeout(2500)
    top = at_section.evaluate("document.getElementById('query').getBoundingClientRect().top")
    check("a link to a section alone opens there", abs(top) < 300 and not at_section.locator("#unknown").is_visible(), str(top))
    at_section.close()
    page.goto(f"{page_path.as_uri()}#")
    page.goto(f"{page_path.as_uri()}#query={words}&stage=1&iteration=1&scale=log")
    page.reload()
    page.wait_for_selector("svg[role=img]")
    state = [page.locator(f"#{name}").input_value() for name in ("stage", "iteration", "typed")]
    check("a link opens its state", state == ["1", "1", data["queries"]["list"][0]["words"]] and page.locator("input[value=log]").is_checked(), str(state))
    stops = []
    for _ in range(5):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    check("tabs go from the top to the sections", stops[:3] == ["Skip to the content", "theme", "What and how"], str(stops))
    page.close()


def widths(browser):
    for width in (360, 768, 1280):
        for theme in ("light", "dark"):
            page = open_page(browser, width, color_scheme=theme, reduced_motion="reduce")
            scroll = page.evaluate("document.documentElement.scrollWidth")
            check(f"no sideways scroll at {width}, {theme}", scroll <= width, str(scroll))
            if width == 360:
                accessible(page, f"{width}, {theme}")
            page.screenshot(path=shots / f"{width}-{theme}.png", full_page=True)
            page.close()


def by_keyboard(browser):
    """Tab alone comes to everything that can be used, in the order of the page, shows where it is, and leaves again."""
    for width in (360, 1280):
        page = open_page(browser, width, reduced_motion="reduce")
        usable = page.evaluate("""() => {
            const parts = [...document.querySelectorAll('a, button, select, input, summary, [tabindex="0"]')];
            const seen = parts.filter(p => p.checkVisibility({ visibilityProperty: true }));
            // Of radio buttons the chosen one is a stop; what scrolls on its own may be one of the browser's.
            window.stops = seen.filter(p => p.type !== 'radio' || p.checked);
            return stops.length;
        }""")
        order, dark, outside = [], [], []
        for _ in range(2 * usable + 20):
            page.keyboard.press("Tab")
            at = page.evaluate("""() => {
                const part = document.activeElement;
                if (part === document.body) return null;
                const { outlineStyle, outlineWidth } = getComputedStyle(part);
                const { top, bottom, left, right } = part.getBoundingClientRect();
                const bars = [...document.querySelectorAll('.bar')].filter(b => !b.contains(part) && getComputedStyle(b).position === 'sticky' && b.checkVisibility());
                const under = Math.max(0, ...bars.map(b => b.getBoundingClientRect()).filter(b => b.top < 80 && b.bottom > top).map(b => b.bottom));
                return {
                    index: stops.indexOf(part),
                    name: part.getAttribute('aria-label') || part.textContent.trim().slice(0, 40) || part.id,
                    shown: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2,
                    seen: bottom > under && top < innerHeight && right > 0 && left < innerWidth,
                };
            }""")
            if at is None:
                break
            if at["index"] >= 0:
                order.append(at["index"])
                dark += [] if at["shown"] else [at["name"]]
                outside += [] if at["seen"] else [at["name"]]
        missed = set(range(usable)) - set(order)
        names = page.evaluate("(missed) => missed.map(i => stops[i].outerHTML.slice(0, 60))", sorted(missed)[:3])
        check(f"tabs reach all {usable} stops at {width}", not missed, str(names))
        check(f"tabs go in the order of the page at {width}", order == sorted(order), str(order[:20]))
        check(f"every stop shows its focus at {width}", not dark, str(dark[:3]))
        check(f"every stop is in sight at {width}", not outside, str(outside[:3]))
        page.close()


def downloads(page):
    figure = page.locator("figure.picture:has(svg[role=img])").first
    if figure.locator("details.data").get_attribute("open") is None:
        figure.locator("summary").click()
    figure.locator("tbody tr").first.wait_for()
    near(figure)
    figure.locator("svg[role=img]").focus()
    page.keyboard.press("Home")
    name = figure.locator("svg[role=img]").get_attribute("aria-label")
    files = {}
    for button in ("CSV", "SVG"):
        with page.expect_download() as download:
            figure.get_by_role("button", name=button, exact=True).click()
        files[button] = Path(download.value.path()).read_text()
        check(f"the {button} has the picture's name", download.value.suggested_filename.endswith(button.lower()), download.value.suggested_filename)
    heads, *rows = csv.reader(io.StringIO(files["CSV"]))
    shown = [cell.inner_text().split(" ")[0] for cell in figure.locator("thead th").all()]
    check("the CSV has the heads and rows of the table", [head.split(" ")[0] for head in heads] == shown and len(rows) == figure.locator("tbody tr").count(), str(heads))
    image = ElementTree.fromstring(files["SVG"])
    check("the SVG has no reading cursor", "cursor" not in files["SVG"])
    check("the SVG stands alone with its title", name in "".join(image.itertext()) and "var(" not in files["SVG"], name)


def printed(page, name):
    page.emulate_media(media="print")
    # The widths of A4 within Chromium's margins; tables of sweeps are printed on their side.
    page.set_viewport_size({"width": 718, "height": 1000})
    page.wait_for_timeout(300)
    wide = "p.closest('#sets, #points') ? 1047 : 718"
    over = page.evaluate(f"[...document.querySelectorAll('svg[role=img], table')].filter(p => p.checkVisibility() && p.getBoundingClientRect().right > ({wide}) + 1).map(p => p.getAttribute('aria-label') || p.textContent.slice(0, 40))")
    check(f"nothing is cut off in print: {name}", not over, str(over[:3]))
    page.pdf(path=shots / "print.pdf", format="A4", print_background=True)
    page.emulate_media(media="screen")


def sandboxed(browser):
    page = browser.new_context(viewport={"width": 1000, "height": 800}).new_page()
    page.on("pageerror", lambda error: noise.append(f"sandbox: {error}"))
    frame = shots / "frame.html"
    frame.write_text(f'<iframe sandbox="allow-scripts" src="{page_path.as_uri()}" width="900" height="700"></iframe>')
    page.goto(frame.resolve().as_uri())
    inside = page.frames[-1]
    inside.wait_for_selector("svg[role=img]")
    check("it works in a sandboxed frame", inside.locator("svg[role=img]").count() > 0)
    page.close()


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    page = open_page(browser)
    pictures = page.locator("figure.picture").count()
    drawn = page.locator("figure.picture:has(svg[role=img]), figure.picture:has(.absent)").count()
    check("every picture is drawn or says why not", pictures == drawn > 0, f"{drawn} of {pictures}")
    accessible(page, "1280")
    if "points" in data["results"]:
        sweep(page)
    else:
        sliders(page)
        cells(page)
        queries(page)
    downloads(page)
    printed(page, "1280")
    page.close()
    if "points" not in data["results"]:
        links(browser)
    by_keyboard(browser)
    widths(browser)
    sandboxed(browser)
    check("nothing on the console, no request", not noise, "; ".join(noise[:3]))
    browser.close()
sys.exit(1 if failed else 0)
