# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the files of a site and of its sessions lie on the login node."""

import errno
import os
import re
import stat
import sys

from . import files
from .failure import Failure

DEFAULT_BATCH_DIR = "~/.jupyter/batch"
# No option for ssh, and nothing that a shell could misread: a name or an address.
HOST_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._:-]*\Z")
SITE_DIR = re.compile(r"\A/[A-Za-z0-9/._+@,=:%-]+\Z")
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


def check_site_dir(path):
    """Return the prefix of a system-wide installation if it can be one.

    :raises Failure: for what is not the same for everybody, or what a shell, ssh or a reader could misread.
    """
    if not isinstance(path, str) or not SITE_DIR.match(path) or os.path.normpath(path) in ("/", "//"):
        raise Failure(
            "jupyter_site_dir is '%s', and it must be an absolute path of letters, digits and '/ . _ + @ , = : %% -', such as "
            "/opt/hpc-jupyter. Nothing was changed." % (path,), "bad-path")
    return os.path.normpath(path)


def refuse_if_others_write(directory):
    """Refuse a prefix whose files others than its owner can replace: the jobs of all who use it run them.

    :raises Failure: naming the first such path. One that is not there is nobody's.
    """
    def refuse(path, why):
        raise Failure(
            "%s %s, and whoever can write in %s runs code in the jobs of all who use it. Nothing was changed or submitted. Ask the "
            "site's staff to mend that (what is below the prefix is written by its owner alone)." % (path, why, directory), "site-not-safe")

    try:
        owner = os.stat(directory).st_uid
        names = sorted(os.listdir(directory))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise
    for path in [directory] + [os.path.join(directory, name) for name in names]:
        try:
            status = os.stat(path)
        except OSError:
            continue  # removed meanwhile, or a link to nowhere
        if status.st_uid not in (0, owner):
            refuse(path, "belongs to user id %d, not to the owner of the prefix" % status.st_uid)
        if stat.S_IMODE(status.st_mode) & 0o022:
            refuse(path, "can be written by others than its owner")
    parent = os.path.realpath(directory)
    while parent != "/":
        parent = os.path.dirname(parent)
        mode = stat.S_IMODE(os.stat(parent).st_mode)
        if mode & 0o002 and not mode & stat.S_ISVTX:
            refuse(parent, "can be written by everybody")


class Site(object):
    """What setup left in the batch directory, or staff for everybody.

    :param batch_dir: str, see ``expand``: the user's own, with the sessions.
    :param site_dir: str or None, the prefix that holds all else, where it was installed once for all users.
    :ivar installed: where all but the sessions is.
    :ivar shared: that prefix, None where the user has an installation of their own.
    """

    def __init__(self, batch_dir=None, site_dir=None):
        self.path = expand("jupyter_batch_dir", batch_dir or DEFAULT_BATCH_DIR)
        # A job script of one's own names the same directory twice.
        self.shared = check_site_dir(site_dir) if site_dir and site_dir != self.path else None
        self.installed = self.shared or self.path
        self.facts_path = os.path.join(self.installed, "site.json")
        self.program = os.path.join(self.installed, "program.pyz")
        self.keeper = os.path.join(self.installed, "keeper.pyz")
        self.python = os.path.join(self.installed, "python")
        self.old_keeper = os.path.join(self.path, "keeper.py")
        self.sessions = os.path.join(self.path, "sessions")

    @classmethod
    def of_request(cls, request):
        """Return the site that a request of the controller is about."""
        return cls(request.get("batch_dir"), request.get("site_dir"))

    @classmethod
    def of_command(cls, argv):
        """Return the site of a command of program.pyz that a job calls, and its words.

        :param argv: list of str; ends in ``--batch-dir DIR`` where the program does not lie in the batch directory.
        :returns: (Site, list of str without that).
        """
        here = os.path.dirname(os.path.abspath(sys.argv[0]))
        if argv[-2:-1] == ["--batch-dir"]:
            return cls(argv[-1], here), argv[:-2]
        return cls(here), argv

    def known(self):
        """Return the content of site.json, None where there is none that can be understood.

        :raises Failure: for a system-wide installation that others can change.
        """
        if self.shared:
            refuse_if_others_write(self.shared)
        facts = files.read_json(self.facts_path)
        return facts if isinstance(facts, dict) else None

    def facts(self):
        """Return the content of site.json.

        :raises Failure: when setup has not been run here.
        """
        facts = self.known()
        if facts is None and self.shared:
            raise Failure(
                "%s is missing or damaged: nothing is installed system-wide in %s. Nothing was submitted. Ask the site's staff, who do that "
                "with 'ansible-playbook hpc.jupyter.site'; or take jupyter_site_dir out of the inventory and run 'ansible-playbook "
                "hpc.jupyter.setup' for an installation of your own." % (self.facts_path, self.shared), "not-set-up")
        if facts is None:
            raise Failure(
                "This account is not set up yet (%s is missing or damaged). Nothing was submitted. "
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
        # The same once more, by a name that is new when the server gets ready (keeper/status.py).
        self.ready = os.path.join(path, "server.ready.json")
        # What Jupyter and the keeper print; and what the scheduler and the job script do, in a file of their own: PBS puts it in
        # place at the job's end, over whatever is there by then.
        self.log = os.path.join(path, "server.log")
        self.output = os.path.join(path, "job.out")
