# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the files of a site and of its sessions lie on the login node."""

import os
import re

from . import files
from .failure import Failure

DEFAULT_BATCH_DIR = "~/.jupyter/batch"
# No option for ssh, and nothing that a shell could misread: a name or an address.
HOST_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._:-]*\Z")
LONGEST_SOCKET = 107  # bytes of a path, on Linux
SESSION_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")


def check_name(name):
    """Return a session's name if it is one.

    :raises Failure: for anything that a path, a shell or a scheduler could misread.
    """
    if not isinstance(name, str) or not SESSION_NAME.match(name):
        raise Failure(
            "%r is no name for a session: 1 to 32 letters, digits, '.', '_' or '-', and a letter or digit first. "
            "Nothing was submitted. Set jupyter_session to such a name." % (name,),
            "bad-name",
        )
    return name


def expand(variable, path):
    """Return a path that a person set as an absolute one: ``~`` and ``$VARIABLES`` of the login node are expanded.

    :param variable: str, what it was set with, for the message.
    :raises Failure: for a variable that is not set there, for ``~other`` and for an empty path.
    """
    expanded = os.path.expandvars(path)
    try:
        if "$" in expanded:
            raise ValueError("%s is not set there" % expanded[expanded.index("$"):].split("/")[0])
        return files.expand(expanded)
    except ValueError as error:
        raise Failure(
            "%s is '%s': %s. Nothing was changed. Give a path that starts with / or ~/." % (variable, path, error), "bad-path")


class Site(object):
    """What setup left in the batch directory.

    :param batch_dir: str, see ``expand``.
    """

    def __init__(self, batch_dir=None):
        self.path = expand("jupyter_batch_dir", batch_dir or DEFAULT_BATCH_DIR)
        self.facts_path = os.path.join(self.path, "site.json")
        self.program = os.path.join(self.path, "program.pyz")
        self.keeper = os.path.join(self.path, "keeper.pyz")
        self.old_keeper = os.path.join(self.path, "keeper.py")
        self.sessions = os.path.join(self.path, "sessions")

    def facts(self):
        """Return the content of site.json.

        :raises Failure: when setup has not been run here.
        """
        facts = files.read_json(self.facts_path)
        if not isinstance(facts, dict):
            raise Failure(
                "%s is missing or damaged: this account is not set up yet. Nothing was submitted. "
                "Run 'ansible-playbook hpc.jupyter.setup' with the same inventory first." % self.facts_path,
                "not-set-up",
            )
        return facts

    def session(self, name):
        """Return the places of a session by its name."""
        return SessionPlaces(os.path.join(self.sessions, check_name(name)), name)

    def session_names(self):
        """Return the names of all sessions that left a directory here, sorted."""
        try:
            names = os.listdir(self.sessions)
        except OSError:
            return []
        return sorted(name for name in names if SESSION_NAME.match(name))


class SessionPlaces(object):
    """The files of one session (DESIGN: sessions/NAME/)."""

    def __init__(self, path, name):
        self.path = path
        self.name = name
        self.record = os.path.join(path, "record.json")
        self.lock = os.path.join(path, "lock")
        self.script = os.path.join(path, "job.sh")
        self.job = os.path.join(path, "job.json")
        self.control = os.path.join(path, "control.json")
        self.server = os.path.join(path, "server.json")
        # What Jupyter and the keeper print; and what the scheduler and the job script do, in a file of their own: PBS puts it in
        # place at the job's end, over whatever is there by then.
        self.log = os.path.join(path, "server.log")
        self.output = os.path.join(path, "job.out")
