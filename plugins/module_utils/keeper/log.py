# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""server.log: what Jupyter and the keeper print."""
from __future__ import absolute_import, division, print_function

import io
import os
import time

from .text import printable

LIMIT = 8 * 1024 * 1024  # bytes; beyond it only the newest part stays
KEEP = 512 * 1024
TAIL_LINES = 15


class Log(object):
    """The log of one session.

    :ivar handle: descriptor for the output of children; None until it is opened.
    """

    def __init__(self):
        self.handle = None
        self.path = None
        self.start = 0

    def open(self, path, second):
        """Begin to write to a file, or to a second one when the home won't take it."""
        self.path = path
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.fchmod(handle, 0o600)
        except OSError as error:
            self.path = second
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(1, ("server.log can't be written (%s); it is %s on this node\n" % (error, self.path)).encode("utf-8"))
        self.handle = handle
        self.bound()
        self.mark()

    def mark(self):
        """What counts as this server's starts here."""
        self.start = os.fstat(self.handle).st_size

    def bound(self):
        """Keep only the newest part of a log that grew beyond its limit. (Jupyter appends, so it goes on behind it.)"""
        try:
            size = os.fstat(self.handle).st_size
            if size <= LIMIT:
                return
            with io.open(self.path, "rb") as stream:
                stream.seek(size - KEEP)
                newest = stream.read()
            os.ftruncate(self.handle, 0)
            os.write(self.handle, newest[newest.find(b"\n") + 1:])
            self.start = 0
        except (IOError, OSError):
            pass

    def say(self, message):
        """A line of our own; it goes to the scheduler's output file while there is no log."""
        line = u"[%s keeper] %s\n" % (time.strftime("%Y-%m-%d %H:%M:%S"), printable(message))
        try:
            os.write(1 if self.handle is None else self.handle, line.encode("utf-8"))
        except OSError:
            pass

    def text(self, limit=16384):
        """The end of what this server wrote."""
        try:
            with io.open(self.path, "rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(self.start if self.start <= stream.tell() else 0, stream.tell() - limit))
                return printable(stream.read().decode("utf-8", "replace"))
        except (IOError, OSError):
            return u""

    def tail(self):
        """The last lines that Jupyter printed; our own are told in ``reason``. Empty while there is no log."""
        if self.handle is None:
            return []
        lines = [line.rstrip()[:500] for line in self.text().splitlines() if line.strip() and " keeper] " not in line[:40]]
        return lines[-TAIL_LINES:]
