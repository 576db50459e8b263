# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of this host, told apart by more than their number, which is used again."""

import os

from . import commands
from .schedulers import base


def stat(pid):
    """Return (state letter, parent, start time) of a process, or None. Its number may be another's later, its start time is not."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as stream:
            # The name, in parentheses, may hold blanks and parentheses.
            fields = stream.read().rpartition(b")")[2].split()
        return fields[0].decode("ascii"), int(fields[1]), int(fields[19])
    except (OSError, IndexError, ValueError):
        if os.path.isdir("/proc/self"):
            return None
    fields = output(["ps", "-o", "stat=,ppid=,lstart=", "-p", str(pid)]).split(None, 2)
    start = base.epoch(fields[2].strip(), "%a %b %d %H:%M:%S %Y") if len(fields) == 3 else None
    return None if start is None else (fields[0][:1], int(fields[1]), start)


def start_time(pid):
    """Return when a process was started (int, in a unit of the system's), 0 when there is none."""
    status = stat(pid)
    return status[2] if status else 0


def alive(pid, start):
    """Tell whether the process ``pid`` that began at ``start`` still runs. A zombie does not."""
    status = stat(pid)
    return status is not None and status[2] == start and status[0] not in ("Z", "X")


def output(argv):
    """Return what a command of the system prints (str), "" when it fails."""
    done = commands.run(argv)
    return done.out if done.rc == 0 else ""
