# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of this node: what runs below us, and commands whose answer we wait for."""
from __future__ import absolute_import, division, print_function

import ctypes
import errno
import io
import os
import select
import signal
import subprocess

from .compat import monotonic, text_of


class Process(object):
    """What /proc/PID/stat says of one process.

    :ivar terminal: number N of its /dev/pts/N, or None.
    :ivar cpu: seconds of processor time that it and its waited-for children used.
    :ivar key: what no later process has, even if it gets the same number.
    """

    def __init__(self, pid, line):
        # The name stands in parentheses and may itself hold parentheses and blanks.
        opening, closing = line.index("("), line.rindex(")")
        fields = line[closing + 2:].split()
        self.pid = pid
        self.name = line[opening + 1:closing]
        self.state = fields[0]
        self.parent = int(fields[1])
        number = int(fields[4])
        major, minor = (number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00)
        self.terminal = minor + 256 * (major - 136) if 136 <= major <= 143 else None
        self.cpu = sum(int(value) for value in fields[11:15]) / os.sysconf("SC_CLK_TCK")
        self.key = (pid, fields[19])


def descendants(root):
    """All processes below a pid, as a list of Process; empty where the system has no /proc."""
    children = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if not name.isdigit():
            continue
        try:
            with io.open("/proc/%s/stat" % name, "r", encoding="utf-8", errors="replace") as stream:
                process = Process(int(name), stream.read())
        except (IOError, OSError, ValueError, IndexError):  # it ended meanwhile
            continue
        children.setdefault(process.parent, []).append(process)
    found, front = [], [root]
    while front:
        below = children.get(front.pop(), [])
        found.extend(below)
        front.extend(process.pid for process in below)
    return found


def age():
    """Seconds since this process was started, as whatever program: a job script becomes its keeper. 0 where the system doesn't say."""
    try:
        with io.open("/proc/self/stat", "r", encoding="utf-8", errors="replace") as stream:
            started = int(stream.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        with io.open("/proc/uptime", "r", encoding="ascii") as stream:
            return max(0.0, float(stream.read().split()[0]) - started)
    except (IOError, OSError, ValueError, IndexError):
        return 0.0


def become_subreaper():
    """Inherit the orphans of the job's processes (Linux), so that none is left when the job ends."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    except (OSError, AttributeError):
        pass


def die_with_parent():
    """Be ended when our parent is killed (Linux): a server whose keeper is gone must not stay behind."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        pass


def ask_command(argv):
    """Output of a short command, or None when it is missing, fails or takes 10 seconds."""
    status, output = run_command(argv, 10.0)
    return output if status == 0 else None


def run_command(argv, patience):
    """Run a command, at most so many seconds.

    :returns: (exit status, standard output as text); the status is None when it is missing or took longer.
    """
    output = b""
    try:
        with io.open(os.devnull, "r+b") as null:
            child = subprocess.Popen(argv, stdin=null, stdout=subprocess.PIPE, stderr=null)
    except (IOError, OSError):
        return None, u""
    limit = monotonic() + patience
    while monotonic() < limit:
        try:
            if not select.select([child.stdout], [], [], max(0.0, limit - monotonic()))[0]:
                break
            part = os.read(child.stdout.fileno(), 65536)
        except (IOError, OSError, select.error) as error:
            if error.args[0] == errno.EINTR:  # Python 2.7, when a child ends
                continue
            break
        if not part:
            child.stdout.close()
            return child.wait(), text_of(output)
        output += part
    child.kill()
    child.stdout.close()
    child.wait()
    return None, text_of(output)
