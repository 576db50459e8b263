# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a session: held while a job is submitted or stopped, never longer.

Which job a session has is in its record, not in the lock; so a lock left behind by a killed
process can only mean that a submission may have been cut in the middle, and whoever takes it
over asks the scheduler for a job of the session's name before submitting one.
"""

import json
import os
import socket
import threading
import time

from . import files, processes
from .failure import Failure

# A holder touches its lock this often. One of another host, whose processes can't be seen from
# here, that was not touched for so long has been cut off.
HEARTBEAT = 5.0
FOREIGN_AGE = 45.0


class SessionLock(object):
    """One critical section over all hosts that share the home.

    :param path: str.
    :param patience: float, seconds to wait for another holder.
    :param what: str, what may hold it, for the message.
    :ivar taken_over: bool, whether its last holder left it behind.
    """

    def __init__(self, path, patience=100.0, what="launch or stop of this session"):
        self.path = path
        self.patience = patience
        self.what = what
        self.taken_over = False
        self._text = None
        self._released = threading.Event()

    def __enter__(self):
        deadline = time.time() + self.patience
        while True:
            self._text = json.dumps({
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "process": processes.start_time(os.getpid()),
            }, sort_keys=True)
            try:
                ours = files.create_exclusively(self.path, self._text)
            except FileNotFoundError:
                # A launch that was refused has just taken its empty directory away.
                files.make_private_dir(os.path.dirname(self.path))
                continue
            if ours:
                beating = threading.Thread(target=self._beat)
                beating.daemon = True
                beating.start()
                return self
            there = files.read_text(self.path)
            if there is not None and self._abandoned(there) and self._take_away(there):
                self.taken_over = True
                continue
            if time.time() > deadline:
                raise Failure(
                    "Another %s has been at work for over %d seconds (%s). "
                    "This one changed nothing. Look with 'ansible-playbook hpc.jupyter.status', then try again."
                    % (self.what, self.patience, there or "it has just ended"),
                    "locked",
                )
            time.sleep(0.1)

    def __exit__(self, *error):
        self._released.set()
        # Only ours: after a takeover by somebody who thought us dead it is theirs.
        if files.read_text(self.path) == self._text:
            files.remove(self.path)

    def _beat(self):
        while not self._released.wait(HEARTBEAT):
            try:
                os.utime(self.path, None)
            except OSError:
                pass  # taken over, or the file system is away for a moment

    def _abandoned(self, text):
        try:
            holder = json.loads(text)
            host, pid = holder["host"], int(holder["pid"])
        except (ValueError, KeyError, TypeError):
            host = None  # written whole or not at all, so this is none of ours; it blocks nobody for long
        if host == socket.gethostname():
            return not processes.alive(pid, holder.get("process"))
        # By the clock of the file system: those of two hosts may be hours apart.
        age = files.age(self.path)
        return age is not None and age > FOREIGN_AGE

    def _take_away(self, text):
        """Move a dead holder's lock aside; only one of several that try succeeds in it."""
        aside = "%s.%d-%s" % (self.path, os.getpid(), socket.gethostname())
        try:
            os.rename(self.path, aside)
        except OSError:
            return False
        moved = files.read_text(aside)
        if moved != text:
            # Somebody took over between our look and our move, and this is a living lock: put it back.
            try:
                os.link(aside, self.path)
            except OSError:
                pass
            files.remove(aside)
            return False
        files.remove(aside)
        return True
