# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks our own server over its endpoint, as the one who has its token or as a stranger."""
from __future__ import absolute_import, division, print_function

import hashlib
import json
import socket

from .compat import http_client, ssl, text_of

REST_TIMEOUT = 10.0  # seconds for one request to the server


class Connection(http_client.HTTPConnection):
    """HTTP to an endpoint: over its socket, or over TLS to a server that holds exactly our certificate."""

    def __init__(self, endpoint, timeout):
        http_client.HTTPConnection.__init__(self, "localhost", timeout=timeout)
        self.strict = 1  # else Python 2.7 takes anything for an answer of HTTP/0.9, with status 200
        self.endpoint = endpoint

    def connect(self):
        if self.endpoint["kind"] == "socket":
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.endpoint["path"])
            return
        plain = socket.create_connection((self.endpoint["address"], self.endpoint["port"]), self.timeout)
        try:
            context = ssl.SSLContext(getattr(ssl, "PROTOCOL_TLS_CLIENT", ssl.PROTOCOL_SSLv23))
            context.check_hostname = False  # the fingerprint below is stricter than any name
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(plain)
            shown = hashlib.sha256(self.sock.getpeercert(True)).hexdigest()
        except BaseException:
            plain.close()
            raise
        if shown != self.endpoint["fingerprint"]:
            self.sock.close()
            raise ssl.SSLError("another certificate than ours")

    def leave(self):
        """Close with a goodbye: old servers log each TLS connection that ends without one."""
        if self.sock is not None and self.endpoint["kind"] == "tls":
            try:
                self.sock.settimeout(0.5)
                self.sock.unwrap()
            except (IOError, OSError, ValueError):
                pass
        self.close()


class Client(object):
    """Asks our own server. It proves who we are with the token, which no log nor argument ever holds."""

    def __init__(self, endpoint, token, base_url):
        self.endpoint = endpoint
        self.token = token
        self.base_url = base_url

    def request(self, method, path, known=True, timeout=REST_TIMEOUT):
        """One request.

        :param known: with our token; else as a stranger.
        :returns: (status, headers with lower-case names, body bytes).
        :raises OSError, http_client.HTTPException, ssl.SSLError: no answer.
        """
        connection = Connection(self.endpoint, timeout)
        headers = {}
        if known:
            headers["Authorization"] = "token " + self.token
        try:
            connection.request(method, self.base_url + path, headers=headers)
            response = connection.getresponse()
            body = response.read()
            return response.status, dict((name.lower(), value) for name, value in response.getheaders()), body
        finally:
            connection.leave()

    def get(self, path, timeout=REST_TIMEOUT):
        """The JSON that our server gives us.

        :raises: as ``request``, and ValueError for anything but 200 with JSON.
        """
        status, headers, body = self.request("GET", path, timeout=timeout)
        if status != 200:
            raise ValueError("%s answers %d" % (path, status))
        return json.loads(text_of(body))
