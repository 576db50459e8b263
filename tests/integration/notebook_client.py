# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person does with a notebook in the browser: run cell after cell in one kernel and look at what they show."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import time
import uuid
from collections.abc import Iterator

import websocket
from kernel_client import Jupyter


class CellFailed(AssertionError):
    """A cell ended in an error; the message is its traceback after all that it printed."""


@dataclasses.dataclass
class Shown:
    """What a cell showed."""

    text: str = ""
    images: int = 0


class Kernel:
    """A running kernel.

    :param browser: logged in.
    :param timeout: seconds without any message of a cell that is still at work.
    :ivar printed: all that it has printed, under whichever cell.
    """

    def __init__(self, browser: Jupyter, identity: str, timeout: float = 150) -> None:
        self.identity = identity
        self.timeout = timeout
        self.printed = ""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.jar)
        self.channel = websocket.create_connection(
            "ws" + browser.url[4:] + f"api/kernels/{identity}/channels?session_id={uuid.uuid4().hex}", cookie=cookies,
            origin=browser.url.rstrip("/"), timeout=timeout, http_no_proxy=["*"], sslopt={"context": browser.tls} if browser.tls else None)

    def begin(self, code: str) -> str:
        """Start a cell; returns the id for ``finish``."""
        asked = uuid.uuid4().hex
        self.channel.send(json.dumps({
            "header": {"msg_id": asked, "msg_type": "execute_request", "username": "test", "session": uuid.uuid4().hex, "version": "5.3"},
            "parent_header": {}, "metadata": {}, "channel": "shell",
            "content": {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
                        "stop_on_error": True},
        }))
        return asked

    def finish(self, asked: str, until: str | None = None) -> Shown:
        """Take in what a cell shows until it ends, or until it has printed a text.

        :raises CellFailed: the cell ended in an error.
        """
        shown, failure, idle, replied = Shown(), None, False, False
        while not (idle and replied):
            message = self._receive()
            if message.get("parent_header", {}).get("msg_id") != asked:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "stream":
                shown.text += content["text"]
                if until and until in shown.text:
                    return shown
            elif kind in ("display_data", "execute_result"):
                shown.images += "image/png" in content["data"]
                shown.text += content["data"].get("text/plain", "") if kind == "execute_result" else ""
            elif kind == "error":
                failure = "\n".join(content["traceback"])
            elif kind == "execute_reply":
                replied = True
            elif kind == "status":
                idle = content["execution_state"] == "idle"
        if failure:
            raise CellFailed(shown.text + "\n" + failure)
        return shown

    def _receive(self) -> dict:
        limit, opcode, data = time.monotonic() + self.timeout, None, b""
        # The server's pings would begin the channel's own time limit anew.
        while opcode != websocket.ABNF.OPCODE_TEXT:
            self.channel.settimeout(max(0.1, limit - time.monotonic()))
            try:
                opcode, data = self.channel.recv_data(control_frame=True)
            except websocket.WebSocketTimeoutException:
                raise AssertionError(f"{self.timeout} seconds without a message; printed until then:\n{self.printed}") from None
            assert opcode != websocket.ABNF.OPCODE_CLOSE, "the server closed the channel"
        message = json.loads(data)
        if message["header"]["msg_type"] == "stream":
            self.printed += message["content"]["text"]
        return message

    def wait_for(self, pattern: str) -> None:
        """Wait until something is printed: what is at work in the background speaks up when it comes to it, after the cell's end, too."""
        while not re.search(pattern, self.printed):
            self._receive()

    def run(self, code: str) -> Shown:
        return self.finish(self.begin(code))


@contextlib.contextmanager
def kernel(browser: Jupyter) -> Iterator[Kernel]:
    """A kernel that ends with the block."""
    opened = Kernel(browser, browser.api("POST", "api/kernels", {})["id"])
    try:
        yield opened
    finally:
        opened.channel.close()
        browser.api("DELETE", f"api/kernels/{opened.identity}")


def run_notebook(browser: Jupyter, path: str) -> dict[str, Shown]:
    """Open a notebook by its path on the server and run all its cells in order; what each showed, by the cell's id."""
    notebook = browser.api("GET", f"api/contents/{path}?content=1")["content"]
    with kernel(browser) as opened:
        return {cell["id"]: opened.run("".join(cell["source"])) for cell in notebook["cells"] if cell["cell_type"] == "code"}
