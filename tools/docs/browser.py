"""A headless Chromium, driven through a pipe by the Chrome DevTools Protocol.

It takes the pictures of pages, and tests click in it. No driver needs to be installed.

with Browser(folder) as browser:
    browser.open("look/index.html")
    browser.click(".tile")
    assert browser.value("location.hash") == "#view=ranking"
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    # Without internet, a download would wait half a minute for servers that judge files.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]
BROWSER_PATIENCE = 30  # seconds for anything the browser is asked
BROWSER_KEYS = {
    "Enter": 13,
    "Escape": 27,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


def chromium() -> str | None:
    """Return the path of a Chromium or Chrome that can be driven here, or None."""
    return None if sys.platform == "win32" else next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser with one page. folder: for its profile."""

    def __init__(
        self, folder: str | Path, width: int = 1360, height: int = 900, dark: bool = False
    ) -> None:
        to_browser = os.pipe()
        from_browser = os.pipe()

        def connect() -> None:  # in the browser's process: it reads from 3 and writes to 4
            ends = [os.dup(to_browser[0]), os.dup(from_browser[1])]
            high = [os.dup2(end, 50 + i) for i, end in enumerate(ends)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        program = chromium()
        assert program, "no Chromium that can be driven"
        self.process = subprocess.Popen(
            [
                program,
                *BROWSER_FLAGS,
                f"--user-data-dir={folder}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        self.input = to_browser[1]
        self.output = from_browser[0]
        self.rest = b""
        self.number = 0
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.session = None
        self.call("Browser.close")  # a browser that is killed leaves its folders behind
        self.process.wait(BROWSER_PATIENCE)
        os.close(self.input)
        os.close(self.output)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the result of a command of the protocol. Events on the way are kept."""
        self.number += 1
        command: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        content = json.dumps(command).encode() + b"\0"
        while content:
            content = content[os.write(self.input, content) :]
        while True:
            message = self.receive()
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def receive(self) -> dict[str, Any]:
        """Return the browser's next message."""
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.output], [], [], BROWSER_PATIENCE)
            assert ready, "the browser does not answer"
            found = os.read(self.output, 2**20)
            assert found, "the browser has ended"
            self.rest += found
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page; a JavaScript promise is awaited."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Return the value of an expression once it is true."""
        return self.until(lambda: self.value(expression), expression)

    def until(self, check: Callable[[], Any], words: str = "it") -> Any:
        """Return what `check()` returns once that is true."""
        end = time.monotonic() + BROWSER_PATIENCE
        while not (found := check()):
            assert time.monotonic() < end, f"never true: {words}"
            time.sleep(0.02)
        return found

    def open(self, page: str | Path, fragment: str = "") -> None:
        """Open a page, by its file or address, and wait until it says that it has been drawn."""
        address = str(page) if "://" in str(page) else Path(page).resolve().as_uri()
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address + fragment)
        self.wait("document.readyState === 'complete' && document.body.dataset.shown !== undefined")

    def resize(self, width: int, height: int) -> None:
        """Give the window another size.

        `call("Emulation.clearDeviceMetricsOverride")` gives it back its own.
        """
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def click(self, selector: str, number: int = 0) -> None:
        """Press the mouse's button over the middle of an element, once that has come to rest.

        A page may scroll in its next frame, rows that come into sight get their height then, and
        images move what follows them when they arrive: a press that misses is repeated, twice.
        """
        place = f"document.querySelectorAll({json.dumps(selector)})[{number}]"
        self.wait(f"!!{place}")
        middle_at_rest = (
            "(async () => { for (let before = null; ; ) {"
            "   await new Promise(requestAnimationFrame);"
            f"  const found = {place};"
            "   if (!found) continue;"
            "   found.scrollIntoView({block: 'center'});"
            "   const b = found.getBoundingClientRect();"
            "   const middle = [b.left + b.width / 2, b.top + b.height / 2];"
            "   if (String(middle) !== String(before)) { before = middle; continue; }"
            "   window.missed = true;"
            "   const hit = () => { window.missed = false; };"
            "   found.addEventListener('click', hit, { capture: true });"
            "   return middle; } })()"
        )
        for _ in range(3):
            self.press(*self.value(middle_at_rest))
            if not self.value("window.missed"):
                return

    def press(self, x: float, y: float) -> None:
        """Press and release the mouse's button at a position of the page."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, *keys: str) -> None:
        """Type keys, such as "ArrowDown" or "n"."""
        for key in keys:
            code = BROWSER_KEYS.get(key, 0)
            text = "\r" if key == "Enter" else key if len(key) == 1 else ""
            for kind in ("keyDown", "keyUp"):
                typed = {"type": kind, "key": key, "windowsVirtualKeyCode": code}
                if text and kind == "keyDown":
                    typed["text"] = text
                self.call("Input.dispatchKeyEvent", **typed)

    def choose(self, selector: str, value: object) -> None:
        """Set a field or a choice, as a person would."""
        self.value(
            f"(() => {{ const field = document.querySelector({json.dumps(selector)});"
            f" field.value = {json.dumps(str(value))};"
            " for (const kind of ['input', 'change'])"
            " field.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements that fit."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return self.value(f"{found}.map((each) => each.textContent)")

    def back(self) -> None:
        """Go back to the page before."""
        self.value("history.back()")

    def picture(self, path: str | Path) -> None:
        """Write what is seen to a PNG file."""
        taken = self.call("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(taken))

    def complaints(self) -> list[dict[str, Any]]:
        """Return the exceptions and errors of the page so far."""
        kinds = {"Runtime.exceptionThrown", "Log.entryAdded"}
        return [event["params"] for event in self.events if event["method"] in kinds]
