# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts as processes: power on, power off, run something inside, find what belongs to one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Callable, Dict, List, Optional

from . import network
from .configuration import SITE_BIN
from .layout import HOSTS, LOGIN, NODES, Layout

HOST_INIT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "host-init")
# Root finds the scheduler in every shape, `login-path` too.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/" + SITE_BIN


class Trouble(Exception):
    """The cluster did not do what was asked."""


def power_on(layout: Layout, host: str) -> None:
    """Start a host; it is up when `wait_until_up` returns."""
    argv = ["setsid", "nsenter", "--net=/run/netns/" + layout.netns(host),
            "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
            HOST_INIT, layout.state, host, LOGIN if host == LOGIN else "node"] + layout.overlaid
    with open(layout.host_path(host, "console.log"), "ab") as console:
        # Nothing of the caller's environment may leak into a host.
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd="/",  # pylint: disable=R1732
                         env={"PATH": PATH, "LANG": "C.UTF-8"}, umask=0o022)
    network.plug(layout, host, True)


def wait_until_up(layout: Layout, host: str, limit: float = 30.0) -> None:
    """Wait for sshd and the scheduler's daemon. Raises Trouble with the console's last lines."""
    def is_up() -> bool:
        return init_pid(layout, host) is not None and os.path.exists(_sign_of_life(layout, host))
    _wait(is_up, limit, lambda: "%s did not come up:\n%s" % (host, _tail(layout.host_path(host, "console.log"))))


def wait_for_nodes(layout: Layout, nodes: List[str], limit: float = 60.0) -> None:
    """Wait until the scheduler takes these nodes for usable."""
    def usable() -> bool:
        shown = execute(layout, LOGIN, ["sinfo", "-h", "-N", "-o", "%N %t", "-n", ",".join(nodes)], capture=True)
        states = dict(line.split() for line in shown.stdout.splitlines())
        return sorted(states) == sorted(nodes) and all(
            state in ("idle", "mix", "alloc", "drain", "drng", "comp") for state in states.values())
    _wait(usable, limit, lambda: "the scheduler does not see %s:\n%s"
          % (", ".join(nodes), execute(layout, LOGIN, ["sinfo", "-N", "-l"], capture=True).stdout))


def power_off(layout: Layout, host: str) -> None:
    """Cut the power: every process of the host is gone when this returns, and its address is silent."""
    network.plug(layout, host, False)
    kill_all(layout, [host])


def kill_all(layout: Layout, hosts: List[str]) -> None:
    """Kill every process of these hosts, however they were left."""
    deadline = time.monotonic() + 20
    while True:
        pids = [pid for host in hosts for pid in processes(layout, host)]
        if not pids:
            break
        if time.monotonic() > deadline:
            raise Trouble("processes %s of %s can't be killed" % (pids, ", ".join(hosts)))
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)
    for host in hosts:
        try:
            os.unlink(_sign_of_life(layout, host))
        except FileNotFoundError:
            pass


def processes(layout: Layout, host: str) -> List[int]:
    """Every process in the host's network namespace, and the ones that hold it up; zombies do not count."""
    try:
        namespace: Optional[int] = os.stat("/run/netns/" + layout.netns(host)).st_ino
    except FileNotFoundError:
        namespace = None
    marker = [HOST_INIT, layout.state, host]
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if os.stat("/proc/%s/ns/net" % entry).st_ino == namespace or _has_words(entry, marker):
                if _state(entry) not in "ZX":
                    found.append(int(entry))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def init_pid(layout: Layout, host: str) -> Optional[int]:
    """The host's pid 1 as the machine numbers it; None if the host is off."""
    for pid in processes(layout, host):
        try:
            with open("/proc/%d/status" % pid, encoding="utf-8", errors="replace") as stream:
                levels = next(line.split()[1:] for line in stream if line.startswith("NSpid:"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if len(levels) > 1 and levels[-1] == "1":
            return pid
    return None


def running(layout: Layout) -> Dict[str, Optional[int]]:
    return {host: init_pid(layout, host) for host in HOSTS}


def nodes_on(layout: Layout) -> List[str]:
    return [node for node in NODES if init_pid(layout, node)]


def enter(layout: Layout, host: str, argv: List[str], user: Optional[str] = None) -> List[str]:
    """The command line that runs `argv` inside a host, as root or as a user in a login shell's directory."""
    pid = init_pid(layout, host)
    if pid is None:
        raise Trouble("%s is off" % host)
    inside = ["nsenter", "--target", str(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--",
              "env", "-i", "PATH=" + PATH, "LANG=C.UTF-8", "TERM=" + os.environ.get("TERM", "dumb")]
    if user is None:
        return inside + ["HOME=/root"] + argv
    return inside + ["setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups",
                     "env", "--chdir=/home/" + user, "USER=" + user, "LOGNAME=" + user, "HOME=/home/" + user, "SHELL=/bin/bash",
                     "PATH=/usr/local/bin:/usr/bin:/bin"] + argv


def execute(layout: Layout, host: str, argv: List[str], capture: bool = False, user: Optional[str] = None,
            ) -> "subprocess.CompletedProcess[str]":
    """Run a command inside a host; its output goes where ours goes unless it is to be captured."""
    where = subprocess.PIPE if capture else None
    return subprocess.run(enter(layout, host, argv, user), stdin=subprocess.DEVNULL if capture else None,
                          stdout=where, stderr=where, text=True, check=False)


def _sign_of_life(layout: Layout, host: str) -> str:
    # Written by host-init once the daemons listen.
    return layout.host_path(host, "var", "upper", "lib", "host-is-up")


def _wait(condition: Callable[[], bool], limit: float, complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise Trouble(complaint())
        time.sleep(0.05)


def _has_words(pid: str, words: List[str]) -> bool:
    with open("/proc/%s/cmdline" % pid, "rb") as stream:
        line = stream.read().decode(errors="replace").split("\0")
    return any(line[index:index + len(words)] == words for index in range(len(line)))


def _state(pid: str) -> str:
    with open("/proc/%s/stat" % pid, encoding="utf-8", errors="replace") as stream:
        return stream.read().rpartition(")")[2].split()[0]


def _tail(path: str, lines: int = 20) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return "".join(stream.readlines()[-lines:])
