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
# What a command may need besides its path, where a profile or a module sets it.
_SETTINGS = ("SLURM_CONF", "PBS_CONF_FILE", "PBS_EXEC", "PBS_SERVER", "PBS_DEFAULT", "LD_LIBRARY_PATH")
_COMMAND_TIMEOUT = 60
# A login shell reads the person's own files, which may wait for something; longer, and we do without.
_SHELL_TIMEOUT = 30


class Finder:
    """Looks for commands, from the cheapest place to the dearest.

    :param run: ``run(argv, stdin=None, timeout=60, env=None) -> Completed``.
    :param modules: list of str, environment modules that may bring the commands.
    """

    #: Where to look, one after the other: what is on PATH may be a package that nobody configured.
    SOURCES = ("here", "login")

    def __init__(self, run, modules=()):
        self.run = run
        self.source = "here"
        self.modules = list(modules or ())
        self._login = None

    def find(self, name):
        """Return the absolute path of a command, or None."""
        for directory in self._directories():
            path = os.path.join(directory, name)
            if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return None

    def find_all(self, names):
        """Return {name: path} of those that are there."""
        found = ((name, self.find(name)) for name in names)
        return dict((name, path) for name, path in found if path)

    def ask(self, argv, is_answer):
        """Run a command as it is and, should that be no answer, with the login shell's settings for it.

        :param is_answer: function of a Completed, whether the command said what it should.
        :returns: (Completed, dict of the settings that it needed).
        """
        done = self.run(argv, timeout=_COMMAND_TIMEOUT)
        if is_answer(done):
            return done, {}
        settings = dict((name, value) for name, value in self.login().items()
                        if name in _SETTINGS and os.environ.get(name) != value)
        if not settings:
            return done, {}
        again = self.run(argv, timeout=_COMMAND_TIMEOUT, env=settings)
        return (again, settings) if is_answer(again) else (done, {})

    def places(self):
        """Where find looks, in words."""
        return "PATH, %s and the PATH of a login shell%s" % (
            ", ".join(self._pbs_directories() + list(_USUAL)), " with the modules " + ", ".join(self.modules) if self.modules else "")

    def _directories(self):
        directories = self._login_path() if self.source == "login" else os.environ.get("PATH", "").split(os.pathsep)
        return directories + self._pbs_directories() + list(_USUAL)

    def _pbs_directories(self):
        directories = [os.environ.get("PBS_EXEC")]
        try:
            with open(os.environ.get("PBS_CONF_FILE") or "/etc/pbs.conf", "r", errors="replace") as stream:
                directories += re.findall(r"^\s*PBS_EXEC\s*=\s*[\"']?([^\s\"'#]+)", stream.read(), re.MULTILINE)
        except OSError:
            pass
        return [os.path.join(directory, "bin") for directory in directories if directory]

    def _login_path(self):
        login = self.login()
        directories = login.get("PATH", "").split(os.pathsep)
        if login.get("PBS_EXEC"):
            directories.append(os.path.join(login["PBS_EXEC"], "bin"))
        return directories

    def login(self):
        """Return the environment of the person's login shell, modules loaded; asked once, {} if it cannot be had."""
        if self._login is None:
            self._login = self._ask_login_shell()
        return self._login

    def _ask_login_shell(self):
        # Profiles greet, and some print without a newline: only what is between the marks counts.
        # The inner sh makes it the same words in every shell, csh and fish included.
        mark = "environment-%s" % uuid.uuid4().hex
        shell = _shell()
        script = "/bin/sh -c 'echo; echo %s; /usr/bin/env; echo %s'" % (mark, mark)
        if self.modules:
            script = "module load %s; %s" % (" ".join(shlex.quote(name) for name in self.modules), script)
        between = re.compile(r"^%s$(.*)^%s$" % (mark, mark), re.MULTILINE | re.DOTALL)
        done = self.run([shell, "-l", "-c", script], timeout=_SHELL_TIMEOUT)
        match = between.search(done.out)
        if not match:
            # csh takes -l only as its single argument; then the commands come from stdin.
            done = self.run([shell, "-l"], stdin=script + "\n", timeout=_SHELL_TIMEOUT)
            match = between.search(done.out)
        return dict(re.findall(r"^([A-Za-z_][A-Za-z0-9_]*)=(.*)$", match.group(1), re.MULTILINE)) if match else {}


def _shell():
    """The person's login shell, as sshd would choose it."""
    shell = pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    return shell if os.access(shell, os.X_OK) else "/bin/sh"
