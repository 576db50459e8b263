# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back to the login node."""
from __future__ import absolute_import, division, print_function

import os
import select
import signal
import subprocess

from .compat import monotonic
from .text import moment, printable


def quoted(text):
    """A word for a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def in_sh(script):
    """A command for sshd, which hands it to whatever shell the user has, csh included."""
    return "exec /bin/sh -c " + quoted(script)


class Reverse(object):
    """Holds ``ssh -R`` from the node to a socket on the login node, and starts it again when it ends.

    :param order: {"host", "socket", "options"} of control.json; options are further arguments for ssh.
    :param endpoint: the server's endpoint.
    """

    READY = b"jupyter-reverse-up"

    def __init__(self, order, endpoint):
        self.order = order
        self.host = str(order["host"])
        self.socket = str(order["socket"])
        self.options = [str(option) for option in order.get("options") or []]
        if self.host.startswith("-") or not self.socket.startswith("/"):
            raise ValueError("the reverse route needs a host and an absolute path")
        self.target = endpoint["path"] if endpoint["kind"] == "socket" else "%s:%d" % (endpoint["address"], endpoint["port"])
        self.child = None
        self.preparing = False
        self.output = b""
        self.up_since = None
        self.pause = 1.0
        self.next_try = 0.0
        self.state = {"state": "connecting", "host": self.host, "socket": self.socket, "message": None}

    def argv(self):
        """The command. A remote `cat` that ends with our standard input keeps nothing alive on the login node when we are gone."""
        script = ("n=0; until test -S %s; do n=$((n+1)); test $n -lt 50 || exit 1; sleep 0.2; done; echo %s; exec cat >/dev/null"
                  % (quoted(self.socket), self.READY.decode("ascii")))
        return ["ssh", "-T"] + self.common() + ["-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindMask=0177",
                                                "-R", self.socket + ":" + self.target, "--", self.host, in_sh(script)]

    def common(self):
        """Options of both commands: never ask, never lend the agent, notice a dead network."""
        options = ["-o", "BatchMode=yes", "-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "ControlMaster=no", "-o", "ControlPath=none",
                   "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3", "-o", "ConnectTimeout=20"]
        return self.options + options

    def prepare_argv(self):
        """Make the socket's directory ours alone, and take away the socket of an earlier connection: sshd won't replace it."""
        # Others of the login node may have been there first: in a directory of theirs they could put their own socket for ours.
        script = ("umask 077; d=%s; mkdir -p -m 700 \"$d\" && test -d \"$d\" && test ! -L \"$d\" && test -O \"$d\" && "
                  "case $(ls -ld \"$d\") in drwx------*) exec rm -f %s;; esac; echo \"$d is not a directory of yours alone\"; exit 1"
                  % (quoted(os.path.dirname(self.socket)), quoted(self.socket)))
        return ["ssh", "-T"] + self.common() + ["--", self.host, in_sh(script)]

    def begin(self, argv):
        self.output = b""
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, close_fds=True,
                                      preexec_fn=os.setsid)

    def look(self):
        """Do what there is to do now; True when the state to publish has changed."""
        before = dict(self.state)
        if self.child is None:
            if monotonic() >= self.next_try:
                self.preparing = True
                self.attempt(self.prepare_argv())
        else:
            while select.select([self.child.stdout], [], [], 0)[0]:
                part = os.read(self.child.stdout.fileno(), 4096)
                if not part:
                    break
                self.output = (self.output + part)[-4096:]
            if self.child.poll() is None:
                if self.up_since is None and not self.preparing and self.READY in self.output:
                    self.up_since = monotonic()
                    self.state.update(state="up", message=None)
            elif self.preparing and self.child.returncode == 0:
                self.preparing = False
                self.close()
                self.attempt(self.argv())
            else:
                self.failed()
        return self.state != before

    def attempt(self, argv):
        try:
            self.begin(argv)
        except OSError as error:
            self.output = str(error).encode("utf-8")
            self.failed()

    def failed(self):
        if self.up_since is not None and monotonic() - self.up_since > 60:
            self.pause = 1.0
        said = [line for line in printable(self.output).splitlines() if line.strip() and self.READY.decode("ascii") not in line]
        self.state.update(state="retrying", message="%s (trying again in %s)" % (said[-1] if said else "ssh to %s ended" % self.host, moment(self.pause)))
        self.next_try = monotonic() + self.pause
        self.pause = min(60.0, self.pause * 2)
        self.close()

    def close(self):
        """End ssh."""
        if self.child is not None:
            if self.child.poll() is None:
                try:
                    os.killpg(self.child.pid, signal.SIGTERM)
                except OSError:
                    pass
                self.child.wait()
            self.child.stdin.close()
            self.child.stdout.close()
        self.child = None
        self.up_since = None
