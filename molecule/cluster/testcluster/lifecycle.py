# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Up and down: whatever was left behind goes first, and nothing stays behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from typing import Callable, Iterator, List

from . import configuration, hosts, network, packages, software, wan
from .layout import HOSTS, NODES, STATES, BadRequest, Layout

HOME_SIZE = "1g"


def up(layout: Layout, say: Callable[[str], None], fresh: bool = False) -> bool:
    """Bring the cluster up, from whatever state; returns when every host is usable.

    False if it was up already and well, in this very shape: then nothing is touched, unless `fresh`.
    Raises BadRequest, hosts.Trouble, software.NotBuilt or subprocess.CalledProcessError; the cluster is then down.
    """
    equip(layout.software, say)
    with alone():
        if not fresh and _is_well(layout):
            return False
        for other in clusters_up():
            if other != layout.name and Layout.of_running(other).net == layout.net:
                raise BadRequest("cluster %s has the addresses %s.0/24 already: choose another --net"
                                 % (other, layout.net))
        sweep(layout)
        try:
            os.makedirs(layout.state, mode=0o700)
            os.makedirs(layout.home, mode=0o755)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=" + HOME_SIZE, "tmpfs", layout.home], check=True)
            configuration.write(layout)
            network.build(layout)
            for host in HOSTS:
                hosts.power_on(layout, host)
            for host in HOSTS:
                hosts.wait_until_up(layout, host)
            hosts.wait_for_nodes(layout, list(NODES))
        except BaseException:
            sweep(layout)
            raise
    return True


def equip(root: str, say: Callable[[str], None]) -> None:
    """Install what clusters need of Debian, and build their software below `root`, as far as that is missing.

    Raises hosts.Trouble, software.NotBuilt or subprocess.CalledProcessError.
    """
    with alone():
        missing = packages.missing()
        if missing and clusters_up():
            raise hosts.Trouble("packages are missing (%s), and to install them under running clusters would pull "
                                "their /etc and /var away: take down %s first"
                                % (" ".join(missing), ", ".join(clusters_up())))
        packages.install(missing, say)
    software.prepare(root, say)


def clusters_up() -> List[str]:
    return [name for name in sorted(os.listdir(STATES)) if os.path.exists(os.path.join(STATES, name, "cluster.json"))]


def _is_well(layout: Layout) -> bool:
    try:
        if Layout.of_running(layout.name).facts() != layout.facts():
            return False
        hosts.wait_for_nodes(layout, list(NODES), limit=0)
    except (BadRequest, hosts.Trouble):
        return False
    return all(hosts.running(layout).values()) and all(network.plugged(layout, host) for host in HOSTS)


def down(layout: Layout) -> None:
    """Leave no process, namespace, interface, mount or file (but the software, which the next cluster uses)."""
    with alone():
        sweep(layout)


def sweep(layout: Layout) -> None:
    """Remove whatever there is of this cluster, complete or not."""
    wan.stop(layout)
    hosts.kill_all(layout, list(HOSTS))
    network.remove(layout)
    for mount in reversed(mounts(layout)):
        subprocess.run(["umount", "--lazy", mount], check=True)
    if os.path.exists(layout.state):
        shutil.rmtree(layout.state)


def mounts(layout: Layout) -> List[str]:
    """The machine's mounts below the state directory."""
    with open("/proc/self/mounts", encoding="utf-8") as stream:
        points = [line.split()[1] for line in stream]
    return [point for point in points if point.startswith(layout.state + "/")]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Only one at a time changes clusters on this machine; the directory goes with the last cluster."""
    while True:
        os.makedirs(STATES, mode=0o755, exist_ok=True)
        descriptor = os.open(STATES, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Whoever held the lock before may have removed the directory.
        if os.path.exists(STATES) and os.stat(STATES).st_ino == os.fstat(descriptor).st_ino:
            break
        os.close(descriptor)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(STATES)
        os.close(descriptor)
