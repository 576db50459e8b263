# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""server.json: what others see of the session."""
from __future__ import absolute_import, division, print_function

import json
import os
import socket
import time

from .private_files import read_json, remove, write_json

# Beside server.json, with what it said when the server got ready: a name that is new is seen by other hosts at once, where a new
# file under a name that they know may be taken for the old one for a second or more.
READY = "server.ready.json"


class Status(object):
    """The state of one session, published with every change.

    :param path: of server.json.
    :param session: its name.
    :param say: takes a line for the log.
    :ivar withdrawn: whether the file is another job's by now, and nothing is written any more.
    """

    def __init__(self, path, session, say):
        self.path = path
        self.ready_path = os.path.join(os.path.dirname(path), READY)
        self.say = say
        self.unwritten = False
        self.withdrawn = False
        self.state = {"version": 1, "session": session, "id": None, "job": None, "node": socket.gethostname(), "fqdn": socket.getfqdn(),
                      "phase": "starting", "endpoint": None, "flavour": None, "version_jupyter": None, "base_url": "/", "pid": None,
                      "started": int(time.time()), "ends": None, "reason": None, "cause": None, "exit": None, "updated": None}

    def __getitem__(self, key):
        return self.state[key]

    def publish(self, **changes):
        """Change server.json. A home that is full must not end the server, so a failure is kept in mind and tried again."""
        was_ready = self.state["phase"] == "ready"
        self.state.update(changes)
        self.state["updated"] = int(time.time())
        if self.withdrawn:
            return
        ready = self.state["phase"] == "ready"
        try:
            if was_ready and not ready:
                remove(self.ready_path)
            write_json(self.path, self.state)
            if ready and not was_ready:
                write_json(self.ready_path, self.state)
            self.unwritten = False
        except (IOError, OSError) as error:
            if not self.unwritten:
                # The scheduler's own output file is the last place left where somebody could look.
                self.say("server.json can't be written: %s" % error)
                last_resort = json.dumps(dict(self.state, error="server.json can't be written: %s" % error), sort_keys=True)
                try:
                    os.write(1, last_resort.encode("utf-8") + b"\n")
                except OSError:
                    pass
            self.unwritten = True

    def insist(self):
        """Publish again over what another job left: one that was cut off, or is of an older version, may say its last words late."""
        try:
            found = read_json(self.path) or {}
        except ValueError:
            found = {}
        except (IOError, OSError):
            return
        if (found.get("id"), found.get("job")) != (self.state["id"], self.state["job"]):
            self.publish()

    def publish_again(self):
        """Publish what an earlier time could not be written."""
        if self.unwritten:
            self.publish()
