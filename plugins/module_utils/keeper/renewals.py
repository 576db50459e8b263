# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session's next job: the login-node program submits and removes it, asked from here."""
from __future__ import absolute_import, division, print_function

import io
import os
import signal
import subprocess

from . import login_program
from .compat import monotonic
from .private_files import read_json

PATIENCE = 20.0  # seconds for the removal of a successor


class Renewals(object):
    """Successors of one session's jobs.

    :param batch_dir: where the sessions are.
    :param site_dir: where program.pyz is.
    :param directory: that of the session.
    :param session: its name.
    :ivar count: ``renewals`` of the job.
    :ivar adopting: the process that sees to a successor, while it runs.
    """

    def __init__(self, batch_dir, site_dir, directory, session, log, signals):
        self.batch_dir = batch_dir
        self.site_dir = site_dir
        self.directory = directory
        self.session = session
        self.log = log
        self.signals = signals
        self.count = 0
        self.adopting = None

    def _record(self):
        try:
            return read_json(os.path.join(self.directory, "record.json")) or {}
        except (ValueError, IOError, OSError):
            return {}

    def follows(self):
        """Whether a successor is there, waiting for the end of this job: the last of a chain has none."""
        return bool(self._record().get("successor"))

    def wanted(self):
        """Whether jobs of this session have successors."""
        record = self._record()
        return bool(self.count or record.get("renewals") or record.get("successor"))

    def adopt(self, job):
        """Let the program note that this job runs now, and submit the next successor. Nobody waits for it."""
        if job and self.wanted():
            try:
                self.adopting = self._program("adopt-job", self.session, job)
            except OSError as error:
                self.log.say("the successor can't be seen to: %s" % error)

    def drop(self):
        """Before an end that somebody wanted: the successor must not start. Best effort."""
        if not self.wanted():
            return
        try:
            child = self._program("drop-successor", self.session)
        except OSError as error:
            self.log.say("the successor can't be removed: %s" % error)
            return
        self.signals.await_child(monotonic() + PATIENCE, child)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            self.log.say("removing the successor took longer than %d seconds" % PATIENCE)

    def _program(self, *words):
        """Start the login-node program with these words.

        :raises OSError: it can't be started.
        """
        with io.open(os.devnull, "rb") as null:
            return subprocess.Popen(
                login_program.command(self.site_dir, *(words + ("--batch-dir", self.batch_dir))),
                stdin=null, stdout=self.log.handle, stderr=self.log.handle, close_fds=True, preexec_fn=os.setsid)
