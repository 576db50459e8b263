# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Up and down: nothing stays behind, a crash is cleaned up, clusters do not know each other."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest
from conftest import COMMAND, Cluster


def test_ten_rounds(cluster: Cluster) -> None:
    for _round in range(10):
        cluster.up()
        assert cluster.ssh("login", "hostname").stdout == "login\n"
        cluster.down()
        assert not cluster.leftovers()


def test_up_again_changes_nothing(cluster: Cluster) -> None:
    cluster.up()
    before = cluster.status()
    cluster.up()
    assert cluster.status() == before
    cluster.up("open")
    assert cluster.status()["hosts"] != before["hosts"]


def test_up_mends_a_broken_one(cluster: Cluster) -> None:
    cluster.up()
    os.kill(cluster.status()["hosts"]["node1"]["pid"], signal.SIGKILL)
    cluster.up()
    assert cluster.ssh("node1", "hostname").stdout == "node1\n"


def test_down_takes_what_users_left_running(cluster: Cluster) -> None:
    cluster.up()
    cluster.run_as("carol", "node1", "setsid nohup sleep 1000 >/dev/null 2>&1 </dev/null &")
    cluster.verb("wan", "50")
    cluster.down()
    assert not cluster.leftovers()
    cluster.down()


def test_two_at_once(cluster: Cluster, neighbour: Cluster) -> None:
    cluster.up()
    neighbour.up("reverse-only")
    assert cluster.run_as("carol", "login", "srun -N2 hostname | sort").stdout.split() == ["node1", "node2"]
    assert neighbour.run_as("carol", "login", "srun -N2 hostname | sort").stdout.split() == ["node1", "node2"]
    cluster.run_as("carol", "login", "touch mine")
    assert neighbour.run_as("carol", "login", "ls mine").returncode == 2
    # A host holds nothing of another cluster alive.
    for host in ("login", "node1"):
        mounts = neighbour.run_as("carol", host, "cut -d' ' -f5 /proc/self/mountinfo").stdout.splitlines()
        assert "/" in mounts
        assert not [point for point in mounts if (point + "/").startswith((cluster.state + "/", "/run/netns/"))]
    cluster.down()
    assert not cluster.leftovers()
    assert neighbour.ssh("login", "hostname").stdout == "login\n"
    neighbour.down()
    assert not neighbour.leftovers()


# Moments of `up`: once this path exists, it is killed.
@pytest.mark.parametrize("moment", ["keys", "ssh_config", "netns", "hosts/node2/console.log"])
def test_a_crash_in_the_middle(cluster: Cluster, moment: str) -> None:
    watched = pathlib.Path("/run/netns", cluster.name + "-node1") if moment == "netns" \
        else pathlib.Path(cluster.state, moment)
    process = subprocess.Popen([sys.executable, str(COMMAND), "--name", cluster.name, "up", "--net", cluster.net],
                               stdout=subprocess.DEVNULL)
    while not watched.exists() and process.poll() is None:
        pass
    process.kill()
    process.wait()
    assert cluster.leftovers()
    cluster.up()
    assert cluster.ssh("node2", "hostname").stdout == "node2\n"
    cluster.down()
    assert not cluster.leftovers()


def test_a_failed_up_leaves_nothing(cluster: Cluster, neighbour: Cluster) -> None:
    neighbour.up()
    # The same addresses twice can't be.
    done = cluster.verb("up", "--net", neighbour.net, check=False)
    assert done.returncode == 1 and neighbour.name in done.stderr
    assert not cluster.leftovers()
    assert neighbour.ssh("login", "hostname").stdout == "login\n"


def test_an_unusable_name(cluster: Cluster) -> None:
    done = subprocess.run([sys.executable, str(COMMAND), "--name", "Too-Long-Name", "up"], text=True, check=False,
                          stderr=subprocess.PIPE)
    assert done.returncode == 1 and "at most 8" in done.stderr
