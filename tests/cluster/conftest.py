# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters for the tests of the cluster itself: made by its own command, with names and nets of their own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest

COMMAND = pathlib.Path(__file__).parents[2] / "molecule" / "cluster" / "cluster"


class Cluster:
    """One cluster, driven from outside as a developer drives it."""

    def __init__(self, name: str, net: str) -> None:
        self.name = name
        self.net = net

    def verb(self, *words: str, check: bool = True, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run `cluster WORDS...` on this cluster; pytest fails with its output where it fails, unless not `check`."""
        done = subprocess.run([sys.executable, str(COMMAND), "--name", self.name, *words], text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if check and done.returncode:
            pytest.fail("cluster %s: rc %d\n%s%s" % (" ".join(words), done.returncode, done.stdout, done.stderr))
        return done

    def up(self, shape: str = "jump-only", *more: str) -> None:
        self.verb("up", "--net", self.net, "--shape", shape, *more, timeout=600)

    def down(self) -> None:
        self.verb("down")

    def status(self) -> Dict[str, Any]:
        return json.loads(self.verb("status").stdout)

    @property
    def state(self) -> str:
        return "/run/hpc-jupyter-cluster/" + self.name

    def ssh_command(self, *words: str) -> List[str]:
        return ["ssh", "-F", self.state + "/ssh_config", "-o", "ConnectTimeout=10", *words]

    def ssh(self, *words: str, stdin: str = "", timeout: float = 60, **keywords: Any,
            ) -> "subprocess.CompletedProcess[str]":
        """The laptop's ssh with these words (options, alias, remote command)."""
        return subprocess.run(self.ssh_command(*words), text=True, timeout=timeout, input=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **keywords)

    def run_as(self, user: str, host: str, script: str) -> "subprocess.CompletedProcess[str]":
        """A shell line inside a host, past every ssh."""
        return self.verb("run-as", user, host, "--", "sh", "-c", script, check=False)

    def leftovers(self) -> List[str]:
        """What of this cluster the machine still holds."""
        found = ["namespace " + name for name in os.listdir("/run/netns") if name.startswith(self.name + "-")] \
            if os.path.isdir("/run/netns") else []
        found += ["interface " + name for name in os.listdir("/sys/class/net") if name.startswith(self.name + "-")]
        mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        found += ["mount " + line for line in mounts if self.state + "/" in line or "/netns/%s-" % self.name in line]
        found += ["file " + self.state] if os.path.exists(self.state) else []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = pathlib.Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace").split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if self.state in words or any(word.startswith(self.state + "/") for word in words):
                found.append("process %s %s" % (entry, " ".join(words)))
        return found


def wait_for(condition: Callable[[], Any], what: str, limit: float = 30.0) -> Any:
    """What `condition` returns once it is true; the test fails if that takes longer than `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        outcome = condition()
        if outcome:
            return outcome
        if time.monotonic() > deadline:
            pytest.fail("after %.0f s still not: %s" % (limit, what))
        time.sleep(0.1)


@pytest.fixture(scope="session", autouse=True)
def root() -> None:
    if os.geteuid() != 0:
        pytest.exit("tests/cluster makes namespaces and mounts: run it as root", returncode=1)


def _named(worker: str, letter: str, index: int) -> Cluster:
    # Each worker of pytest-xdist has clusters of its own.
    number = int(worker[2:] or 0) if worker.startswith("gw") else 0
    return Cluster("t%s%d" % (letter, number), "10.%d.%d" % (90 + index, number))


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "master")


@pytest.fixture(scope="module")
def shared(worker: str) -> Iterator[Cluster]:
    """A cluster of the default shape for the tests of one module; a test leaves it as it found it."""
    cluster = _named(worker, "s", 0)
    cluster.up("jump-only", "--fresh")
    yield cluster
    cluster.down()


@pytest.fixture
def cluster(worker: str) -> Iterator[Cluster]:
    """A cluster yet to be brought up, in whatever shape; taken down after the test."""
    made = _named(worker, "a", 1)
    yield made
    made.down()


@pytest.fixture
def neighbour(worker: str) -> Iterator[Cluster]:
    """A second one beside `cluster`."""
    made = _named(worker, "b", 2)
    yield made
    made.down()
