# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on real clusters, as verbs. Each returns when its effect is real."""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import List

from . import hosts, lifecycle, network
from .hosts import Trouble
from .layout import LOGIN, Layout


def host(layout: Layout, name: str, verb: str) -> None:
    """off (a power failure), on, reboot (in good order), unplug, plug; for a node also drain and resume."""
    if verb == "reboot" and name == LOGIN and hosts.init_pid(layout, name):
        # It writes down what it knows; killed, it may come back with a job that runs as one that waits.
        scheduler(layout, "stop")
    if verb in ("off", "reboot"):
        hosts.power_off(layout, name)
    if verb in ("on", "reboot") and hosts.init_pid(layout, name) is None:
        hosts.power_on(layout, name)
        hosts.wait_until_up(layout, name)
        _wait_for_scheduler(layout, [name])
    if verb in ("unplug", "plug"):
        network.plug(layout, name, verb == "plug")
        if verb == "plug" and hosts.init_pid(layout, name):
            _wait_for_scheduler(layout, [name])
    if verb == "drain":
        _control(layout, ["update", "NodeName=" + name, "State=DRAIN", "Reason=drained by hand"])
    if verb == "resume":
        _control(layout, ["update", "NodeName=" + name, "State=RESUME"])


def scheduler(layout: Layout, verb: str) -> None:
    """stop or start the scheduler's controller on the login node; jobs run on."""
    if verb == "stop":
        hosts.execute(layout, LOGIN, ["pkill", "-x", "slurmctld"])
        _until(layout, ["pgrep", "-x", "slurmctld"], wanted=1)
    else:
        if hosts.execute(layout, LOGIN, ["pgrep", "-x", "slurmctld"], capture=True).returncode:
            hosts.execute(layout, LOGIN, ["slurmctld"])
        _wait_for_scheduler(layout, hosts.nodes_on(layout))


def home(layout: Layout, verb: str) -> None:
    """Make the shared home full (to the last page), or give it room again."""
    size = lifecycle.HOME_SIZE
    if verb == "full":
        used = os.statvfs(layout.home)
        size = str((used.f_blocks - used.f_bfree) * used.f_frsize)
    subprocess.run(["mount", "-o", "remount,size=" + size, layout.home], check=True)


def sshd_log(layout: Layout, name: str) -> List[str]:
    """The lines of a host's sshd."""
    with open(layout.log(name, "sshd.log"), encoding="utf-8", errors="replace") as stream:
        return stream.read().splitlines()


def authentications(layout: Layout, name: str) -> int:
    """How many logins this host's sshd has accepted since the cluster came up."""
    return sum(1 for line in sshd_log(layout, name) if re.search(r"\bAccepted \S+ for ", line))


def _wait_for_scheduler(layout: Layout, names: List[str]) -> None:
    if hosts.init_pid(layout, LOGIN) is None:
        return
    names = [name for name in hosts.nodes_on(layout) if (name in names or LOGIN in names)
             and network.plugged(layout, name)]
    _until(layout, ["sh", "-c", "scontrol ping | grep -q UP"], wanted=0)
    if names:
        hosts.wait_for_nodes(layout, names)


def _control(layout: Layout, arguments: List[str]) -> None:
    done = hosts.execute(layout, LOGIN, ["scontrol"] + arguments, capture=True)
    if done.returncode:
        raise Trouble("scontrol %s: %s%s" % (" ".join(arguments), done.stdout, done.stderr))


def _until(layout: Layout, argv: List[str], wanted: int) -> None:
    deadline = time.monotonic() + 30
    while hosts.execute(layout, LOGIN, argv, capture=True).returncode != wanted:
        if time.monotonic() > deadline:
            raise Trouble("still not so after 30 s: %s returns %d" % (" ".join(argv), wanted))
        time.sleep(0.1)
