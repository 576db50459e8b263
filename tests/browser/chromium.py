# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Chromium without a screen, driven over its DevTools protocol."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.request

import websocket

PATIENCE = 90.0  # seconds; a first JupyterLab on a busy machine
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server", "--window-size=1300,1000",
    "--remote-debugging-port=0",
)


class Chromium:
    """One browser with one tab, as a context manager.

    :param home: HOME of the person, whose NSS database has the imported authorities; a fresh profile is made in it.
    :param more: further flags.
    """

    def __init__(self, home: pathlib.Path, *more: str) -> None:
        self.home = home
        self.profile = pathlib.Path(tempfile.mkdtemp(prefix="chromium-", dir=home))
        self.more = more
        self.security = None  # of the page, as the browser shows it: secure, neutral, insecure
        self._numbers = itertools.count(1)

    def __enter__(self) -> Chromium:
        # What it would look for in the real home is not there, nor are the settings of the machine's proxy.
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        with open(self.home / "chromium.log", "wb") as log:
            self.process = subprocess.Popen(
                ["chromium", *FLAGS, f"--user-data-dir={self.profile}", *self.more, "about:blank"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            port = int(self._await(self._port, "its DevTools port"))
            pages = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/json/list", timeout=30))
            page = next(one for one in pages if one["type"] == "page")
            self.channel = websocket.create_connection(
                page["webSocketDebuggerUrl"], suppress_origin=True, timeout=PATIENCE, http_no_proxy=["*"])
            for domain in ("Page", "Runtime", "Security"):
                self.command(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _port(self) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return (self.profile / "DevToolsActivePort").read_text().split("\n")[0] or None
        assert self.process.poll() is None, (self.home / "chromium.log").read_text()
        return None

    def _await(self, condition, what: str):
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain for {what}; the page says:\n{self.text()}"
            time.sleep(0.1)
        return value

    def command(self, method: str, **parameters) -> dict:
        """Send one command; return its result."""
        number = next(self._numbers)
        self.channel.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.channel.recv())
            if message.get("method") == "Security.visibleSecurityStateChanged":
                self.security = message["params"]["visibleSecurityState"]["securityState"]
            if message.get("id") == number:
                assert "error" not in message, (method, message)
                return message["result"]

    def evaluate(self, expression: str):
        """Return the value of a JavaScript expression in the page."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def text(self) -> str:
        """What a person reads in the page."""
        return str(self.evaluate("location.href + '\\n' + (document.body ? document.body.innerText : '')"))[:2000]

    def go(self, url: str) -> str | None:
        """Open an address; return the browser's error ("net::ERR_...") or None."""
        error = self.command("Page.navigate", url=url).get("errorText")
        if not error:
            self._await(lambda: self.evaluate("document.readyState") == "complete", f"{url} to load")
        return error

    def until(self, expression: str):
        """Wait until a JavaScript expression is true; return its value."""
        return self._await(lambda: self.evaluate(expression), expression)

    def click(self, selector: str) -> None:
        """Click an element as soon as it is there."""
        self.until(f"!!document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, selector: str, text: str) -> None:
        """Type a text into an element."""
        self.until(f"!!document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.command("Input.insertText", text=text)

    def shift_enter(self) -> None:
        """Press Shift and Enter."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "modifiers": 8, "text": "\r"}
        self.command("Input.dispatchKeyEvent", type="keyDown", **key)
        self.command("Input.dispatchKeyEvent", type="keyUp", **key)
