# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of the cluster who run things of their own: attacks, and careless servers."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator

from harness import HERE, Cluster


def home_of(cluster: Cluster, user: str) -> pathlib.Path:
    """A user's home as this machine sees it."""
    return pathlib.Path(cluster.state, "home", user)


@contextlib.contextmanager
def running(cluster: Cluster, user: str, host: str, script: str, log: pathlib.Path) -> Iterator[subprocess.Popen]:
    """Shell lines of a user in a host, for as long as the block runs."""
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            [*cluster.command, "run-as", user, host, "--", "bash", "-lc", script],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def attack(cluster: Cluster, host: str, program: str, *arguments: str, user: str = "dave") -> list:
    """Run one of attacks/ as a user of a host; return what it found."""
    source = (HERE / "attacks" / program).read_text(encoding="utf-8")
    home = home_of(cluster, "dave")
    # Where root runs it, too, its own text is none of the things found.
    (home / program).write_text(source, encoding="utf-8")
    words = ["exec", host] if user == "root" else ["run-as", user, host]
    return json.loads(cluster.verb(*words, "--", "python3", f"/home/dave/{program}", *arguments).stdout)
