"""Drive the system's Chromium, without a window, through Playwright.

It takes screenshots of pages, and tests use it to click on pages.

with Browser() as browser:
    browser.open("look/index.html")
    browser.click(".tile")
    assert browser.value("location.hash") == "#view=ranking"
"""

import json
import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without internet, a download would wait half a minute for servers that check files.
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
BROWSER_PATIENCE = 30  # seconds for each request to the browser
SHOWN = "document.readyState === 'complete' && document.body.dataset.shown !== undefined"


def chromium() -> str | None:
    """Return the path of a Chromium or Chrome that Playwright can drive here, or None."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found if find_spec("playwright") else None


class Browser:
    """A browser with one page; `page` is Playwright's object for it."""

    def __init__(self, width: int = 1360, height: int = 900, dark: bool = False) -> None:
        from playwright.sync_api import sync_playwright

        self.driver = sync_playwright().start()
        self.browser = self.driver.chromium.launch(executable_path=chromium(), args=[OFFLINE])
        self.page = self.browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        self.page.set_default_timeout(1000 * BROWSER_PATIENCE)
        self.complaints: list[str] = []  # the page's exceptions and errors so far
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)

    def _listen(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.close()
        self.driver.stop()

    def open(self, page: str | Path, fragment: str = "") -> None:
        """Open a page by its file or address, and wait until it reports that it has been drawn."""
        address = str(page) if "://" in str(page) else Path(page).resolve().as_uri()
        self.page.goto("about:blank")
        self.page.goto(address + fragment)
        self.wait(SHOWN)

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page; a JavaScript promise is awaited."""
        return self.page.evaluate(expression)

    def wait(self, expression: str) -> Any:
        """Return the value of an expression once it is true."""
        return self.until(lambda: self.value(expression), expression)

    def until(self, check: Callable[[], Any], words: str = "it") -> Any:
        """Return the value of `check()` once it is true."""
        end = time.monotonic() + BROWSER_PATIENCE
        while not (found := check()):
            assert time.monotonic() < end, f"never true: {words}"
            self.page.wait_for_timeout(20)
        return found

    def resize(self, width: int = 1360, height: int = 900) -> None:
        """Resize the window."""
        self.page.set_viewport_size({"width": width, "height": height})

    def click(self, selector: str, number: int = 0) -> None:
        """Click an element once it exists, is visible, stands still and is under the mouse."""
        self.page.locator(selector).nth(number).click()

    def key(self, *keys: str) -> None:
        """Type keys, such as "ArrowDown" or "n"."""
        for key in keys:
            self.page.keyboard.press(key)

    def choose(self, selector: str, value: object) -> None:
        """Set a field or choice of any kind, as a user would."""
        self.value(
            f"(() => {{ const field = document.querySelector({json.dumps(selector)});"
            f" field.value = {json.dumps(str(value))};"
            " for (const kind of ['input', 'change'])"
            " field.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )

    def texts(self, selector: str) -> list[str]:
        """Return the text of every matching element."""
        return self.page.locator(selector).all_text_contents()

    def saved(self, selector: str, folder: Path) -> Path:
        """Click an element, save the file that it downloads in `folder`, and return its path."""
        with self.page.expect_download() as download:
            self.click(selector)
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def picture(self, path: str | Path) -> None:
        """Write a screenshot to a PNG file."""
        self.page.screenshot(path=path)
