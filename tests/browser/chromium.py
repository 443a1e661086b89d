"""A headless Chromium, driven through its DevTools protocol: a page is opened, asked and looked at."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome")
START, ANSWER = 60, 60
"""Seconds that the browser has to start, and to answer."""


def find() -> str | None:
    """Return the browser's program, if this machine has one."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page in the browser, and all that it complains of."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=ANSWER, suppress_origin=True)
        self._last = 0
        self.trouble: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its answer."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        end = time.monotonic() + ANSWER
        while time.monotonic() < end:
            message = self._next()
            if message.get("id") == self._last:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
        raise TimeoutError(method)

    def open(self, path: Path, *, width: int = 1000, dark: bool = False) -> None:
        """Show a file, and wait until it is there."""
        self.trouble.clear()
        self.requests.clear()
        self._loaded = False
        self.resize(width)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media="screen", features=[scheme])
        self.send("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + ANSWER
        while not self._loaded and time.monotonic() < end:
            self._next()
        assert self._loaded, f"{path} did not load in {ANSWER} s"

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def ask(self, expression: str) -> Any:
        """Return what an expression of JavaScript gives."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on an element with the mouse, as a person does."""
        x, y = self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView("
            "{block: 'center', inline: 'center', behavior: 'instant'}); const r = e.getClientRects()[0];"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Write into a field, in place of what was there."""
        self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus(); e.select() }})()"
        )
        if text:
            self.send("Input.insertText", text=text)
        else:
            self.press("Delete", 46)

    def press(self, key: str, code: int, **more: Any) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more
            )

    def print(self) -> bytes:
        """Return the page as PDF."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])

    def screenshot(self, path: Path, *, whole: bool = True) -> Path:
        """Write what the page looks like."""
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def close(self) -> None:
        """Leave the page."""
        self._socket.close()

    def _next(self) -> dict[str, Any]:
        message = json.loads(self._socket.recv())
        method, said = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.trouble.append(str(said["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.trouble.append(str(said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.trouble.append(said["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True
        return message


@contextlib.contextmanager
def running(program: str) -> Iterator[Tab]:
    """Start the browser with an empty profile, and end it and all its processes afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            *(program, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"),
            *(
                "--no-first-run",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
            ),
            *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--mute-audio"),
            # Containers have neither the namespaces nor the users that the sandbox needs.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            tab = Tab(_address(Path(profile), process))
            try:
                yield tab
            finally:
                tab.close()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Return where the first page of the browser listens."""
    stated = profile / "DevToolsActivePort"
    end = time.monotonic() + START
    while time.monotonic() < end:
        assert process.poll() is None, f"the browser ended with exit code {process.returncode}"
        lines = stated.read_text().split() if stated.exists() else []
        if len(lines) == 2:
            return _first_page(int(lines[0]), lines[1])
        time.sleep(0.05)
    raise TimeoutError(f"the browser did not start in {START} s")


def _first_page(port: int, path: str) -> str:
    address = f"ws://127.0.0.1:{port}{path}"
    browser = websocket.create_connection(address, timeout=ANSWER, suppress_origin=True)
    try:
        browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
        while (message := json.loads(browser.recv())).get("id") != 1:
            continue
    finally:
        browser.close()
    page = next(one for one in message["result"]["targetInfos"] if one["type"] == "page")
    return f"ws://127.0.0.1:{port}/devtools/page/{page['targetId']}"
