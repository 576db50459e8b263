# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's one-time password generator (HOTP, RFC 4226), as a token on a key ring would be."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import struct

from .layout import USERS, BadRequest, Layout


def next_code(layout: Layout, name: str) -> str:
    """The next code, used up by being shown. Raises BadRequest for a user who has no token."""
    tokens = [user.token for user in USERS if user.name == name]
    if not tokens:
        raise BadRequest("user %r: choose one of %s" % (name, ", ".join(user.name for user in USERS)))
    with open(os.open(layout.path("otp-" + name), os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="ascii") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        count = int(stream.read() or "0")
        stream.seek(0)
        stream.write(str(count + 1))
    return code(bytes.fromhex(tokens[0]), count)


def code(secret: bytes, count: int) -> str:
    digest = hmac.new(secret, struct.pack(">Q", count), hashlib.sha1).digest()
    offset = digest[-1] & 15
    return "%06d" % ((struct.unpack(">I", digest[offset:offset + 4])[0] & 0x7FFFFFFF) % 10 ** 6)
