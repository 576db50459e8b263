# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between Python 2.7 and 3."""
from __future__ import absolute_import, division, print_function

import fcntl
import os
import time

try:
    import ssl
except ImportError:  # a Python built without OpenSSL can still serve a socket
    ssl = None

try:
    import http.client as http_client
except ImportError:
    import httplib as http_client

__all__ = ["close_on_exec", "http_client", "monotonic", "native", "ssl", "text_of"]


def monotonic():
    """Seconds on a clock that nobody sets. Python 2.7 has it only as the fifth value of ``os.times``."""
    try:
        return time.monotonic()
    except AttributeError:
        return os.times()[4]


def text_of(data):
    """Bytes as text; what is not UTF-8 becomes the replacement character."""
    if isinstance(data, bytes):
        return data.decode("utf-8", "replace")
    return data


def native(text):
    """Text as this Python joins and opens it as a path: Python 2.7 reads JSON as what its paths can't always be joined with."""
    return text if isinstance(text, str) else text.encode("utf-8")


def close_on_exec(handle):
    """Keep a file descriptor from our children, on Python 2.7 too."""
    fcntl.fcntl(handle, fcntl.F_SETFD, fcntl.fcntl(handle, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)
