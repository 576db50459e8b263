# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""control.json: orders for a session that runs."""
from __future__ import absolute_import, division, print_function

import os

from .private_files import read_json, refresh


class Control(object):
    """The orders that lie in a session's directory; each is obeyed once.

    :param directory: that of the session.
    :param by_hand: whether no launch submitted this job: then any order that is there already was for another.
    """

    def __init__(self, directory, by_hand):
        self.directory = directory
        self.path = os.path.join(directory, "control.json")
        self.seen = None
        refresh(directory)
        try:
            control = os.stat(self.path)
        except OSError:
            return
        try:
            # An order that is older than job.json was meant for an earlier job of this name.
            stale = by_hand or control.st_mtime <= os.stat(os.path.join(directory, "job.json")).st_mtime
        except OSError:
            stale = True
        if stale:
            self.seen = _signature(control)

    def order(self, stop_only=False):
        """A new order (dict), or None; with ``stop_only`` any other is left for when the server is up."""
        refresh(self.directory)
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        if _signature(found) == self.seen:
            return None
        try:
            order = read_json(self.path) or {}
        except (ValueError, IOError, OSError):
            return None  # half a file of somebody who writes it in place: the next look sees it whole
        if stop_only and not order.get("stop"):
            return None
        self.seen = _signature(found)
        return order


def _signature(found):
    """What tells one version of a file from the next."""
    return found.st_ino, found.st_size, found.st_mtime
