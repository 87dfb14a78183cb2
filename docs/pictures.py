"""Makes the pictures of `page.md`: asks a running server as people do, in a headless Chromium.

python docs/pictures.py http://127.0.0.1:8000
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

IMAGES = Path(__file__).parent / "images"
QUESTION = "What is the capital of Kenya?"
REPLY_SECONDS = 300
EDGE = 24
"""Pixels beside a picture of a part of the page."""


def ask(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_label("Message").fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.locator(".drawer")).to_be_visible(timeout=REPLY_SECONDS * 1000)
    expect(page.locator("#status")).to_be_empty()


def take(page: Page, name: str, only: Locator | None = None) -> None:
    page.wait_for_timeout(300)  # scrolling comes to rest
    box = only.bounding_box() if only else None
    around = (
        {"x": box["x"] - EDGE, "y": box["y"], "width": box["width"] + 2 * EDGE, "height": box["height"]}
        if box
        else None
    )
    page.screenshot(path=IMAGES / f"{name}.png", clip=around)


def main(url: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 900}, color_scheme="light", reduced_motion="reduce")
        ask(page, url)
        page.get_by_role("button", name="Options").click()
        page.locator(".sources summary").first.click()
        take(page, "reply")
        page.get_by_role("button", name="Options").click()
        page.get_by_role("button", name="Policy").click()
        take(page, "policy")
        page.keyboard.press("Escape")
        page.set_viewport_size({"width": 1180, "height": 2400})  # or header and form would cover rows of the tables
        page.locator(".drawer > summary").click()
        take(page, "drawer", page.locator(".drawer"))
        phone = browser.new_page(
            viewport={"width": 360, "height": 740}, device_scale_factor=2, color_scheme="dark", reduced_motion="reduce"
        )
        ask(phone, url)
        take(phone, "phone")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} URL, of a running server")
    main(sys.argv[1])
