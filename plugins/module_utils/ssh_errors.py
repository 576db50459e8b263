# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ssh meant by its last words: the same reading on the laptop and on the login node."""

import collections
import re

from .files import printable

Reading = collections.namedtuple("Reading", "cause said")
Reading.__doc__ = """Why an ssh ended or a forward failed.

cause: one of bind, host-key-changed, host-key-unknown, auth, forbidden, no-command, unreachable, endpoint, installation, unknown.
said: ssh's own line that tells so, printable, or "".
"""

# The first pattern that matches anywhere wins: a changed host key is followed by "Permission denied" lines, and a
# failed bind by "Could not request local forwarding".
_PATTERNS = [
    ("host-key-changed", r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key for \S+ has changed"),
    ("host-key-unknown", r"Host key verification failed|No \S+ host key is known for"),
    ("bind", r"bind \[?\S+\]?:\d+: |cannot listen to port|Could not request local forwarding|unix_listener:"),
    (
        "auth",
        r"Permission denied \(|Permission denied, please try again|Too many authentication failures"
        r"|No more authentication methods|Authentication failed|Access denied",
    ),
    ("forbidden", r"administratively prohibited|refused local port forward"),
    (
        "unreachable",
        r"Could not resolve hostname|Name or service not known|Connection timed out|Operation timed out"
        r"|Connection refused|No route to host|Network is unreachable|kex_exchange_identification"
        r"|Connection (?:closed|reset) by|timed out during banner exchange|Host is down|not responding"
        r"|client_loop: send disconnect|Broken pipe|Connection to \S+ closed by remote host",
    ),
    ("no-command", r"jupyter_connect: (?:command )?not found|\.jupyter_connect: No such file|\.jupyter_connect: Permission denied"
     r"|Unknown command.*jupyter_connect|jupyter_connect: Command not found"),
    ("endpoint", r"open failed: connect failed"),
    # No words of ssh's: ~/.jupyter_connect itself, and Python over a file of setup's that is damaged.
    ("installation", r"^jupyter: (?:no Python |\S.* is (?:missing|damaged)\.)|^zlib\.error: |^(?:zipimport\.)?ZipImportError: |: bad local file header: "),
]
_COMPILED = [(cause, re.compile(pattern)) for cause, pattern in _PATTERNS]
# "channel 3: open failed: connect failed: Connection refused" tells of the server, not of the way to it.
_CHANNEL = re.compile(r"^channel \d+: open failed: connect failed")


def read(text):
    """Find the cause in what an ssh wrote to its standard error.

    :param text: str or bytes, all of it; banners and warnings in it do no harm.
    :returns: Reading; its ``said`` is ssh's last words when no line is known.
    """
    lines = [line.strip() for line in printable(text, limit=100000).splitlines() if line.strip()]
    if "stdio forwarding failed" in lines and not any("administratively prohibited" in line for line in lines):
        # A jump whose last leg failed: here the channel's line tells of the way to the next host.
        return Reading("unreachable", ([line for line in lines if _CHANNEL.match(line)] or ["stdio forwarding failed"])[-1])
    for cause, pattern in _COMPILED:
        for line in lines:
            if pattern.search(line) and (cause == "endpoint" or not _CHANNEL.match(line)):
                return Reading(cause, line)
    return Reading("unknown", lines[-1] if lines else "")
