# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a browser does with a Jupyter: log in with the password, start a kernel, run a cell over its websocket."""

from __future__ import annotations

import http.cookiejar
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
import uuid

import websocket

TIMEOUT = 60  # seconds; a first kernel on a busy machine


class LoginFailed(Exception):
    """The server did not take the password."""


class Jupyter:
    """A logged-in browser.

    :param url: what the launch printed.
    :param password: as typed by the person.
    :param authority: path of the certificate to trust for https; nothing else is trusted.
    """

    def __init__(self, url: str, password: str, authority: str | None = None) -> None:
        self.url = url.rstrip("/") + "/"
        self.tls = ssl.create_default_context(cafile=authority) if self.url.startswith("https:") else None
        self.jar = http.cookiejar.CookieJar()
        handlers: list = [urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)]
        if self.tls:
            handlers.append(urllib.request.HTTPSHandler(context=self.tls))
        self.opener = urllib.request.build_opener(*handlers)
        self._log_in(password)

    def _cookie(self, name: str) -> str | None:
        return next((cookie.value for cookie in self.jar if cookie.name == name), None)

    def _log_in(self, password: str) -> None:
        self.opener.open(self.url + "login", timeout=TIMEOUT).read()
        form = urllib.parse.urlencode({"password": password, "_xsrf": self._cookie("_xsrf") or ""}).encode()
        try:
            self.opener.open(self.url + "login?next=%2Fapi", form, timeout=TIMEOUT).read()
        except urllib.error.HTTPError as error:
            raise LoginFailed(f"{error.code} {error.reason}") from error
        try:
            self.api("GET", "api/kernels")
        except urllib.error.HTTPError as error:
            raise LoginFailed(f"the login left no right to /api/kernels: {error.code}") from error

    def api(self, method: str, path: str, body: object = None) -> object:
        """One REST call; its JSON answer, None where it has none."""
        request = urllib.request.Request(
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"X-XSRFToken": self._cookie("_xsrf") or "", "Content-Type": "application/json"})
        with self.opener.open(request, timeout=TIMEOUT) as answer:
            data = answer.read()
        return json.loads(data) if data else None

    def run(self, code: str, keep: bool = False) -> str:
        """Run a cell in a new kernel and return what it printed.

        :param keep: leave the kernel running.
        :raises AssertionError: with the traceback of the cell.
        """
        kernel = self.api("POST", "api/kernels", {})["id"]
        address = "ws" + self.url[4:] + f"api/kernels/{kernel}/channels?session_id={uuid.uuid4().hex}"
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.jar)
        origin = self.url.rstrip("/")
        channel = websocket.create_connection(
            address, cookie=cookies, origin=origin, timeout=TIMEOUT, http_no_proxy=["*"],
            sslopt={"context": self.tls} if self.tls else None)
        try:
            return _execute(channel, code)
        finally:
            channel.close()
            if not keep:
                self.api("DELETE", f"api/kernels/{kernel}")


def _execute(channel: websocket.WebSocket, code: str) -> str:
    asked = uuid.uuid4().hex
    channel.send(json.dumps({
        "header": {"msg_id": asked, "msg_type": "execute_request", "username": "test", "session": uuid.uuid4().hex, "version": "5.3"},
        "parent_header": {}, "metadata": {}, "channel": "shell",
        "content": {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False,
                    "stop_on_error": True},
    }))
    printed, idle, replied = "", False, False
    while not (idle and replied):
        message = json.loads(channel.recv())
        if message.get("parent_header", {}).get("msg_id") != asked:
            continue
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            printed += content["text"]
        elif kind == "error":
            raise AssertionError("\n".join(content["traceback"]))
        elif kind == "execute_reply":
            replied = True
        elif kind == "status":
            idle = content["execution_state"] == "idle"
    return printed
