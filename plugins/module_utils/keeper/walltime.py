# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the job must end, and when to say so."""
from __future__ import absolute_import, division, print_function

import re

from .compat import monotonic


PROLOG = 120.0  # seconds that a job may have before its script
EARLY = 10.0  # seconds, besides those that the server is given, by which we end before the scheduler would kill us


def time_left(env, ask, used=0.0, qstat="qstat"):
    """Seconds that the scheduler says are left, for a job whose walltime nobody told us; None where it doesn't say.

    Such a job was submitted by hand, or has the walltime of its queue.

    :param used: seconds that the job has run.
    :param qstat: path of that command.
    """
    if env.get("SLURM_JOB_ID"):
        return _duration((ask(["squeue", "-h", "-j", env["SLURM_JOB_ID"], "-o", "%L"]) or "").strip())
    if env.get("PBS_JOBID"):
        found = re.search(r"^\s*Resource_List\.walltime = (\S+)$", ask([qstat, "-f", env["PBS_JOBID"]]) or "", re.MULTILINE)
        whole = _duration(found.group(1)) if found else None
        return None if whole is None else max(1.0, whole - used)
    return None


def _duration(text):
    """Seconds of D-HH:MM:SS, HH:MM:SS or MM:SS; None for anything else."""
    match = re.match(r"^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$", text)
    if not match:
        return None
    days, hours, minutes, seconds = [int(number or 0) for number in match.groups()]
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def time_of_end(env, walltime, now, used=0.0):
    """When the job must end.

    The scheduler's clock and the node's may differ, so its two times count as a duration, and the end is told by the node's.

    :param walltime: seconds of job.json, or None.
    :param used: seconds that the job's script has run.
    :returns: (epoch for people or None, seconds from now or None)
    """
    try:
        start, end = int(env["SLURM_JOB_START_TIME"]), int(env["SLURM_JOB_END_TIME"])
        if end > start and end < 0xffffffff:  # an unlimited partition says a date beyond that
            # A prolog counts, and runs before the script; more than it may take is a clock that is off.
            before = now - start if now - start < PROLOG else 0
            left = max(1.0, end - start - max(used, before))
            return int(now + left), left
    except (KeyError, ValueError):
        pass
    try:
        walltime = float(env["PBS_WALLTIME"])
    except (KeyError, ValueError):
        pass
    if not walltime:
        return None, None
    left = max(1.0, float(walltime) - used)
    return int(now + left), left


class Countdown(object):
    """Tells when a warning is due before the end of the job, and when it is time to end.

    :param left: seconds until the job must end, or None.
    :param early: seconds before that end at which to warn.
    :param grace: seconds that the server is given for its own end.
    """

    def __init__(self, left, early, grace=10.0):
        self.ends = None if left is None else monotonic() + left
        self.warnings = []
        # A short job is to be of some use.
        self.margin = min(EARLY + grace, (left or 0) / 10.0)
        self.grace = min(grace, self.margin / 2.0)
        if left:
            # A short job is warned in its last fifth, not from its first minute on.
            self.warnings = sorted((min(float(seconds), left / 5.0) for seconds in early), reverse=True)

    def over(self):
        """Whether it is time to end: by ourselves and in order, before the scheduler kills the job."""
        return self.ends is not None and monotonic() >= self.ends - self.margin

    def due(self):
        """Seconds that are left when it is time for a warning; None when it isn't."""
        left = None if self.ends is None else self.ends - monotonic()
        if not self.warnings or left is None or left > self.warnings[0]:
            return None
        while self.warnings and left <= self.warnings[0]:
            self.warnings.pop(0)
        return max(0.0, left)
