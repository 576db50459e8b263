# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals, and waiting that they cut short."""
from __future__ import absolute_import, division, print_function

import errno
import fcntl
import os
import select
import signal

from .compat import close_on_exec, monotonic
from .endings import Ended


class Signals(object):
    """SIGTERM and SIGINT end the job, SIGHUP is none of our business, a child's end wakes the loop.

    :ivar terminated: name of the signal that asked us to end, or None.
    :ivar child_ended: whether a child ended since somebody last set this to False.
    """

    def __init__(self):
        self.terminated = None
        self.child_ended = False
        self.breakable = False
        self.wake = None

    def catch(self):
        """From here on they are ours."""
        self.wake, write_end = os.pipe()
        for handle in (self.wake, write_end):
            close_on_exec(handle)
            fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_end)
        signal.signal(signal.SIGTERM, self._told)
        signal.signal(signal.SIGINT, self._told)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, self._heard)

    def _told(self, number, frame):
        self.terminated = "SIGTERM" if number == signal.SIGTERM else "SIGINT"
        if self.breakable:
            self.breakable = False
            raise self._end()

    def _heard(self, number, frame):
        self.child_ended = True

    def _end(self):
        return Ended("signal", "The scheduler ended the job (%s): its time was up or it was cancelled." % self.terminated, 143)

    def break_off(self, function, *arguments, **options):
        """Call a function that a signal to end may break off.

        :raises Ended: one did.
        """
        self.breakable = True
        try:
            return function(*arguments, **options)
        finally:
            self.breakable = False

    def pause(self, seconds):
        """Sleep until a signal or a child's end wakes us, at most so long."""
        try:
            ready = select.select([self.wake], [], [], seconds)[0]
            if ready:
                os.read(self.wake, 512)
        except (OSError, select.error) as error:
            if error.args[0] not in (errno.EINTR, errno.EAGAIN):
                raise

    def wait(self, seconds):
        """``pause``, and then:

        :raises Ended: we were told to end.
        """
        self.pause(seconds)
        if self.terminated:
            raise self._end()

    def await_child(self, until, child):
        """Wait for a child's end until that time on the monotonic clock; no signal breaks it off."""
        while child.poll() is None and monotonic() < until:
            self.pause(min(0.2, max(0.0, until - monotonic())))
