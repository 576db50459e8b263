# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for people: harmless to print, and times as they say them."""
from __future__ import absolute_import, division, print_function

import re

from .compat import text_of

_ESCAPES = re.compile(u"\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[@-Z\\\\-_])")

_CONTROLS = re.compile(u"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text):
    """Text that can't move a terminal's cursor, colour it or turn its lines around."""
    return _CONTROLS.sub(u"", _ESCAPES.sub(u"", text_of(text)))


def moment(seconds):
    """Seconds as people say them: "2 hours", "10 minutes", "45 seconds"."""
    for size, name in ((3600, "hour"), (60, "minute")):
        if seconds >= size - size // 60:
            number = int(round(seconds / size))
            return "%d %s%s" % (number, name, "" if number == 1 else "s")
    return "%d seconds" % max(0, int(seconds))
