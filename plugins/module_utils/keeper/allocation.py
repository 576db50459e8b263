# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the job."""
from __future__ import absolute_import, division, print_function

import io
import os
import re
import socket


def spread(counts):
    """Slurm's "2(x2),1" as [2, 2, 1]."""
    found = []
    for part in (counts or "").split(","):
        match = re.match(r"^(\d+)(?:\(x(\d+)\))?$", part.strip())
        if match:
            found.extend([int(match.group(1))] * int(match.group(2) or 1))
    return found


def node_lines(env, cores, ask):
    """The lines of a PBS node file: each host as often as it has tasks, or cores where the job has one task a node.

    :param cores: of a local job; None where nobody said how many it may use.
    :param ask: runs a command, returns its output or None.
    :returns: list of host names, or None where nothing is known of an allocation.
    """
    if env.get("SLURM_JOB_NODELIST"):
        made = ask(["generate_pbs_nodefile"])
        if made and os.path.isfile(made.strip()):
            with io.open(made.strip(), "r", encoding="utf-8") as stream:
                return stream.read().split()
        hosts = (ask(["scontrol", "show", "hostnames", env["SLURM_JOB_NODELIST"]]) or "").split()
        counts = spread(env.get("SLURM_TASKS_PER_NODE"))
        if not any(count > 1 for count in counts):
            counts = spread(env.get("SLURM_JOB_CPUS_PER_NODE"))
        if not hosts:
            return None
        counts += [1] * (len(hosts) - len(counts))
        return [host for number, host in enumerate(hosts) for dummy in range(counts[number])]
    if env.get("LOCAL_JOBID") and cores:
        return [socket.gethostname()] * int(cores)
    return None


def job_id():
    """The scheduler's id of this job, or None outside of one."""
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "LOCAL_JOBID"):
        if os.environ.get(name):
            return os.environ[name]
    return None
