# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds a scheduler's commands where sites put them.

A command over ssh runs in a shell that read no profile: PATH is the bare one,
and ``module`` does not exist. What the login shell would know is asked once.
"""

import os
import pwd
import re
import shlex
import uuid

# Where packages put the commands without touching anybody's PATH.
_USUAL = ("/opt/pbs/bin", "/opt/slurm/bin", "/usr/local/bin", "/usr/bin", "/opt/torque/bin", "/usr/local/pbs/bin",
          "/usr/local/slurm/bin", "/usr/local/torque/bin", "/cm/shared/apps/slurm/current/bin")
# A login shell reads the person's own files, which may wait for something; longer, and we do without.
_SHELL_TIMEOUT = 30


class Finder:
    """Looks for commands, from the cheapest place to the dearest.

    :param run: ``run(argv, stdin=None, timeout=60, env=None) -> Completed``.
    :param modules: list of str, environment modules to load first.
    """

    def __init__(self, run, modules=()):
        self.run = run
        self.modules = list(modules or ())
        self._login_path = None

    def find(self, name):
        """Return the absolute path of a command, or None."""
        if self.modules:
            # What the site named comes first: it may hide another version that is on PATH.
            order = (self.login_directories, self._direct)
        else:
            order = (self._direct, self.login_directories)
        for directories in order:
            for directory in directories():
                path = os.path.join(directory, name)
                if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK):
                    return path
        return None

    def find_all(self, names):
        """Return {name: path} of those that are there."""
        found = ((name, self.find(name)) for name in names)
        return dict((name, path) for name, path in found if path)

    def places(self):
        """Where find looks, in words."""
        return "PATH, %s and the PATH of a login shell%s" % (
            ", ".join(self._pbs_directories() + list(_USUAL)), " with the modules " + ", ".join(self.modules) if self.modules else "")

    def _direct(self):
        return os.environ.get("PATH", "").split(os.pathsep) + self._pbs_directories() + list(_USUAL)

    def _pbs_directories(self):
        directories = [os.environ.get("PBS_EXEC")]
        try:
            with open(os.environ.get("PBS_CONF_FILE") or "/etc/pbs.conf", "r", errors="replace") as stream:
                directories += re.findall(r"^\s*PBS_EXEC\s*=\s*[\"']?([^\s\"'#]+)", stream.read(), re.MULTILINE)
        except OSError:
            pass
        return [os.path.join(directory, "bin") for directory in directories if directory]

    def login_directories(self):
        """Return the directories of PATH in the person's login shell, asked once."""
        if self._login_path is None:
            self._login_path = self._ask_login_shell()
        return self._login_path

    def _ask_login_shell(self):
        # Profiles greet, and some print without a newline: only what is between the marks counts.
        # The inner sh makes it the same words in every shell, csh and fish included.
        mark = "path-%s" % uuid.uuid4().hex
        shell = _shell()
        script = "sh -c 'echo; echo %s\"$PATH\"%s'" % (mark, mark)
        if self.modules:
            script = "module load %s; %s" % (" ".join(shlex.quote(name) for name in self.modules), script)
        done = self.run([shell, "-l", "-c", script], timeout=_SHELL_TIMEOUT)
        match = re.search(mark + "(.*?)" + mark, done.out)
        if not match and os.path.basename(shell) in ("csh", "tcsh"):
            # csh takes -l only as its single argument; then the commands come from stdin.
            done = self.run([shell, "-l"], stdin=script + "\n", timeout=_SHELL_TIMEOUT)
            match = re.search(mark + "(.*?)" + mark, done.out)
        return match.group(1).split(os.pathsep) if match else []


def _shell():
    """The person's login shell, as sshd would choose it."""
    shell = pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    return shell if os.access(shell, os.X_OK) else "/bin/sh"
