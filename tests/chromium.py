"""A headless Chromium for tests of pages, driven by its DevTools protocol over a local socket. Opens files, never the network."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
WAIT_S = 60.0


def find_chromium() -> str:
    """Path of the browser; without one the test is skipped, in CI it fails."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        reason = "no Chromium here: apt-get install -y chromium"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Tab:
    """One page. `log` gathers console errors, exceptions and policy violations; `requests` every URL asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._next = 0
        self.log: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer; events on the way are noted."""
        self._next += 1
        self._socket.send(json.dumps({"id": self._next, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=WAIT_S))
            if message.get("id") == self._next:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.log.append(params["exceptionDetails"].get("exception", {}).get("description", str(params)))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.log.append(str([arg.get("value", arg.get("description")) for arg in params["args"]]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.log.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, page: Path, width: int, height: int, *, dark: bool = False) -> None:
        """Open `page` in a window of that size and wait until it has drawn everything."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        ready = (
            "new Promise(done => { const look = () => document.documentElement.dataset.ready === 'yes' "
            "? requestAnimationFrame(() => requestAnimationFrame(() => done('yes'))) : setTimeout(look, 50); look(); })"
        )
        for _ in range(3):  # a navigation that is still under way ends the first wait
            answer = self.call("Runtime.evaluate", expression=ready, awaitPromise=True, returnByValue=True)
            if answer["result"].get("value") == "yes":
                return
        raise RuntimeError(f"the page did not get ready: {self.log}")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def screenshot(self, to: Path, clip: tuple[int, int, int, int] | None = None) -> None:
        """A PNG of the whole page, or of (x, y, width, height)."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        x, y, width, height = clip or (0, 0, size["width"], size["height"])
        area = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=area)["data"]
        to.write_bytes(base64.b64decode(data))


@contextmanager
def chromium_tab() -> Iterator[Tab]:
    """A fresh browser with one empty tab; ended when the block ends."""
    program = find_chromium()
    with TemporaryDirectory(prefix="walras-chromium-", ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            assert process.stderr is not None
            port = None
            for line in process.stderr:
                found = re.search(r"ws://127\.0\.0\.1:(\d+)/(\S+)", line)
                if found:
                    port = found
                    break
            if port is None:
                raise RuntimeError("Chromium did not start")
            with connect(f"ws://127.0.0.1:{port[1]}/{port[2]}", max_size=None, proxy=None) as browser:
                browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
                answer = json.loads(browser.recv(timeout=WAIT_S))
                target = next(t["targetId"] for t in answer["result"]["targetInfos"] if t["type"] == "page")
            with connect(f"ws://127.0.0.1:{port[1]}/devtools/page/{target}", max_size=None, proxy=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            process.wait(timeout=WAIT_S)
            if process.stderr is not None:
                process.stderr.close()
