# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault is real when its verb returns, and over when the opposite verb returns."""

from __future__ import annotations

import time

from conftest import Cluster, wait_for


def test_power(shared: Cluster) -> None:
    shared.run_as("carol", "node1", "touch /tmp/volatile ~/kept")
    shared.verb("node1", "off")
    assert shared.status()["hosts"]["node1"]["pid"] is None
    assert shared.ssh("-o", "ConnectTimeout=2", "node1", "hostname").returncode == 255
    assert shared.ssh("node2", "hostname").stdout == "node2\n"
    shared.verb("node1", "on")
    assert shared.ssh("node1", "ls /tmp/volatile").returncode == 2
    assert shared.ssh("node1", "ls kept").stdout == "kept\n"
    assert shared.run_as("carol", "login", "srun -w node1 hostname").stdout == "node1\n"


def test_cable(shared: Cluster) -> None:
    shared.verb("node2", "unplug")
    assert shared.status()["hosts"]["node2"]["pid"]
    assert shared.run_as("carol", "login", "ssh -o ConnectTimeout=2 node2 hostname").returncode == 255
    assert shared.run_as("carol", "node2", "hostname").stdout == "node2\n"
    shared.verb("node2", "plug")
    assert shared.ssh("node2", "hostname").stdout == "node2\n"
    assert shared.run_as("carol", "login", "srun -w node2 hostname").stdout == "node2\n"


def test_scheduler(shared: Cluster) -> None:
    job = shared.run_as("carol", "login", "sbatch --parsable -o /dev/null --wrap 'sleep 300'").stdout.strip()
    state = "squeue -h -j %s -o %%T" % job
    wait_for(lambda: shared.run_as("carol", "login", state).stdout == "RUNNING\n", "job %s running" % job)
    shared.verb("scheduler", "stop")
    assert "DOWN" in shared.run_as("carol", "login", "scontrol ping").stdout
    shared.verb("scheduler", "start")
    assert shared.run_as("carol", "login", state).stdout == "RUNNING\n"
    shared.run_as("carol", "login", "scancel " + job)


def test_reboot_of_the_login_node(shared: Cluster) -> None:
    shared.run_as("carol", "login", "touch /tmp/volatile; echo text > kept")
    job = shared.run_as("carol", "login", "sbatch --parsable -o /dev/null --wrap 'sleep 300'").stdout.strip()
    wait_for(lambda: shared.run_as("carol", "login", "squeue -h -j %s -o %%T" % job).stdout == "RUNNING\n",
             "job %s running" % job)
    before = shared.status()["hosts"]["login"]["pid"]
    shared.verb("login", "reboot")
    assert shared.status()["hosts"]["login"]["pid"] != before
    assert shared.ssh("login", "ls /tmp/volatile; cat kept").stdout == "text\n"
    # The job ran on, and the scheduler that came back knows it.
    assert shared.run_as("carol", "login", "squeue -h -j %s -o %%T" % job).stdout == "RUNNING\n"
    shared.run_as("carol", "login", "scancel " + job)


def test_drain(shared: Cluster) -> None:
    shared.verb("node1", "drain")
    assert "drain" in shared.run_as("carol", "login", "sinfo -h -n node1 -o %T").stdout
    shared.verb("node1", "resume")
    assert shared.run_as("carol", "login", "srun -w node1 hostname").stdout == "node1\n"


def test_home_full(shared: Cluster) -> None:
    shared.verb("home", "full")
    full = shared.ssh("node1", "echo text > new")
    assert full.returncode == 1 and "No space left on device" in full.stderr
    shared.verb("home", "free")
    assert shared.ssh("node1", "echo text > new; cat new").stdout == "text\n"


def test_wan(shared: Cluster) -> None:
    assert shared.ssh("login-wan", "true").returncode == 255
    shared.verb("wan", "200")

    def seconds(alias: str) -> float:
        started = time.monotonic()
        assert shared.ssh(alias, "hostname").stdout == "login\n"
        return time.monotonic() - started

    # A login takes several round trips; a transfer loses nothing on the way.
    assert seconds("login-wan") > seconds("login") + 3 * 0.2
    assert len(shared.ssh("login-wan", "head -c 3000000 /dev/zero | tr '\\0' x").stdout) == 3000000
    assert shared.ssh("node1-wan", "hostname").stdout == "node1\n"
    shared.verb("wan", "off")
    assert shared.ssh("login-wan", "true").returncode == 255


def test_count_of_logins(shared: Cluster) -> None:
    before = int(shared.verb("sshd-log", "login", "--count").stdout)
    assert shared.ssh("login", "true").returncode == 0
    assert int(shared.verb("sshd-log", "login", "--count").stdout) == before + 1


def test_a_verb_without_a_cluster(cluster: Cluster) -> None:
    done = cluster.verb("node1", "off", check=False)
    assert done.returncode == 1 and "no cluster" in done.stderr
