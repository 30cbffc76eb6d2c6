"""Photographs one query on a page of `loopscope report`: photograph.py PAGE.html PICTURE.png STATE

STATE is the link to it, as in "query=e_5+r_1+r_9&stage=3". It needs Playwright (pip install playwright) and Chromium.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

page_path, picture, state = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium)
    # So high that nothing is scrolled, and what sticks to the top covers nothing.
    page = browser.new_page(viewport={"width": 1280, "height": 9000}, reduced_motion="reduce")
    page.goto(f"{page_path.as_uri()}#{state}")
    box = page.locator("#query").bounding_box()
    page.screenshot(path=picture, clip={"x": 0, "y": box["y"] + 8, "width": 1280, "height": 925})
    browser.close()
