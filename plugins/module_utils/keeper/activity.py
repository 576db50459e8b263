# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a server has been idle."""
from __future__ import absolute_import, division, print_function

import os

from .compat import monotonic

# Programs that wait in a terminal for somebody to type, or serve others: they are no work, however long they have been open.
WAITING_PROGRAMS = frozenset("""bash sh dash zsh fish ksh csh tcsh vi vim vim.basic vim.tiny nvim view nano pico emacs emacs-nox joe mcedit mc less more most
    man pager top htop atop watch tmux screen ssh-agent gpg-agent dbus-daemon dbus-launch gvfsd dconf-service""".split())
# Of these, the ones whose windows live on without a terminal of ours.
MULTIPLEXERS = ("tmux", "screen")

# Of one core: what the processes of a session use together while they only sit there (heartbeats, polling) stays far below.
WORKING_SHARE = 0.1


class Activity(object):
    """Tells how long a server has been idle, from kernels and terminals and never from an open tab.

    What counts is that something *changed* between two looks, so no clock is ever compared with another.
    """

    def __init__(self):
        self.last = monotonic()
        self.seen = None
        self.cpu = None
        self.looked = None
        self.of_terminals = set()

    def look(self, kernels, terminals, processes, server_pid):
        """Take one look.

        :param kernels: the answer of /api/kernels.
        :param terminals: the answer of /api/terminals ([] where there are none).
        :param processes: the descendants of the keeper.
        :returns: seconds since something last happened.
        """
        now = monotonic()
        shells = dict((process.pid, process) for process in processes if process.parent == server_pid and process.terminal is not None)
        seen = [sorted((str(kernel.get("id")), str(kernel.get("last_activity"))) for kernel in kernels),
                sorted((str(terminal.get("name")), str(terminal.get("last_activity"))) for terminal in terminals),
                sorted((pid, terminal_times(shell.terminal)) for pid, shell in shells.items())]
        cpu = sum(process.cpu for process in processes if process.pid != server_pid)
        working = any(kernel.get("execution_state") == "busy" for kernel in kernels)
        # Whatever was begun in a terminal is work (an srun uses no processor here while its tasks compute elsewhere), an editor left open is not.
        self.of_terminals = begun_in_terminals(processes, shells, self.of_terminals)
        for process in processes:
            if process.key in self.of_terminals and process.state != "Z" and program(process) not in WAITING_PROGRAMS:
                working = True
        if self.looked is not None and cpu - self.cpu > WORKING_SHARE * (now - self.looked):
            working = True  # a thread or child of a kernel that calls itself idle
        if working or (self.seen is not None and seen != self.seen):
            self.last = now
        self.seen, self.cpu, self.looked = seen, cpu, now
        return now - self.last


def begun_in_terminals(processes, shells, before):
    """Which processes somebody began in a terminal of the session: also those that live on without it, in a detached tmux or by nohup.

    :param processes: the descendants of the keeper, which inherits whatever lost its parent.
    :param shells: those of them by pid that the server's terminals began with.
    :param before: what this said at the last look: a terminal that was closed since is not there any more to tell of.
    :returns: set of ``Process.key``.
    """
    by_pid = dict((process.pid, process) for process in processes)
    found = set()
    for process in processes:
        chain = process
        while chain is not None and chain.pid not in shells:
            if chain.key in before or program(chain) in MULTIPLEXERS:
                break
            chain = by_pid.get(chain.parent)
        if chain is not None and process.pid not in shells:
            found.add(process.key)
    return found


def program(process):
    """What a process runs: "tmux: server" and "tmux: client" are tmux, "SCREEN" is screen."""
    return process.name.split(":")[0].lower()


def terminal_times(number):
    """When somebody last typed into a terminal and when it last printed."""
    try:
        found = os.stat("/dev/pts/%d" % number)
        return int(found.st_atime), int(found.st_mtime)
    except OSError:
        return None
