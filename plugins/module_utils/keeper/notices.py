# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the person before the job ends: in every terminal of the session and in a file that JupyterLab's file browser shows."""
from __future__ import absolute_import, division, print_function

import glob
import io
import os
import time

from .processes import descendants


class Notices(object):
    """What one session says to its person.

    :param session: its name.
    :param root_dir: what the file browser shows first.
    :param say: takes a line for the log.
    """

    def __init__(self, session, root_dir, say):
        # The last line of our files: by it the next job of the session knows what a killed one left.
        self.mark = "(hpc.jupyter session %s)" % session
        self.root_dir = root_dir
        self.say = say
        self.paths = []

    def show(self, message, ends, ways, server_pid):
        """Tell a message.

        :param ends: epoch, names the file.
        :param ways: list of "file" and "terminal".
        """
        if "terminal" in ways:
            for process in descendants(server_pid):
                if process.parent == server_pid and process.terminal is not None:
                    tell_terminal("/dev/pts/%d" % process.terminal, message)
        if "file" in ways:
            self.leave(message, os.path.join(self.root_dir, "JUPYTER-ENDS-AT-%s.txt" % time.strftime("%H-%M", time.localtime(ends))))

    def leave(self, message, path):
        """Write the file, once."""
        if path in self.paths:
            return
        try:
            # O_EXCL: a file of that name that is not ours stays as it is.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(handle, ("%s\n\nThis file goes away with the job.\n%s\n" % (message, self.mark)).encode("utf-8"))
            os.close(handle)
            self.paths.append(path)
        except OSError as error:
            self.say("the notice %s can't be written: %s" % (path, error))

    def remove(self):
        """Remove the files that we left."""
        self._remove(self.paths)

    def remove_old(self):
        """Remove those that an earlier, killed job of this session left."""
        self._remove(glob.glob(os.path.join(self.root_dir, "JUPYTER-ENDS-AT-??-??.txt")))

    def _remove(self, paths):
        for path in paths:
            try:
                with io.open(path, "r", encoding="utf-8", errors="replace") as stream:
                    ours = stream.read(4096).rstrip().endswith(self.mark)
                if ours:
                    os.unlink(path)
            except (IOError, OSError):
                pass


def tell_terminal(path, message):
    """Print a line on somebody's terminal, without ever waiting for it."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(handle, ("\r\n\a*** %s ***\r\n" % message).encode("utf-8"))
        finally:
            os.close(handle)
    except OSError:
        pass
