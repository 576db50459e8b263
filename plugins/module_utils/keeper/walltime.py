# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the job must end, and when to say so."""
from __future__ import absolute_import, division, print_function

import re

from .compat import monotonic


def time_left(env, ask):
    """Seconds that Slurm says are left, for a job whose walltime nobody told us (submitted by hand); None where it doesn't say."""
    said = (ask(["squeue", "-h", "-j", env["SLURM_JOB_ID"], "-o", "%L"]) or "").strip() if env.get("SLURM_JOB_ID") else ""
    match = re.match(r"^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$", said)
    if not match:
        return None
    days, hours, minutes, seconds = [int(number or 0) for number in match.groups()]
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def time_of_end(env, walltime, now):
    """When the job must end.

    The scheduler's clock and the node's may differ, so its two times count as a duration, and as a date only for others to read.

    :param walltime: seconds of job.json, or None.
    :returns: (epoch for people or None, seconds from now or None)
    """
    try:
        start, end = int(env["SLURM_JOB_START_TIME"]), int(env["SLURM_JOB_END_TIME"])
        if end > start and end < 0xffffffff:  # an unlimited partition says a date beyond that
            used = now - start
            return end, end - start - (used if 0 <= used < 600 else 0)
    except (KeyError, ValueError):
        pass
    try:
        walltime = float(env["PBS_WALLTIME"])
    except (KeyError, ValueError):
        pass
    if not walltime:
        return None, None
    return int(now + float(walltime)), float(walltime)


class Countdown(object):
    """Tells when a warning is due before the end of the job.

    :param left: seconds until the job must end, or None.
    :param early: seconds before that end at which to warn.
    """

    def __init__(self, left, early):
        self.ends = None if left is None else monotonic() + left
        self.warnings = []
        if left:
            # A short job is warned in its last fifth, not from its first minute on.
            self.warnings = sorted((min(float(seconds), left / 5.0) for seconds in early), reverse=True)

    def due(self):
        """Seconds that are left when it is time for a warning; None when it isn't."""
        left = None if self.ends is None else self.ends - monotonic()
        if not self.warnings or left is None or left > self.warnings[0]:
            return None
        while self.warnings and left <= self.warnings[0]:
            self.warnings.pop(0)
        return max(0.0, left)
