# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the test cluster takes to come up and go down, and the memory of its idle processes. Prints JSON.

Run as root: python3 tests/bench/cluster_up.py [ROUNDS]
"""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
import sys
import time

CLUSTER = pathlib.Path(__file__).resolve().parents[2] / "molecule" / "cluster"
sys.path.insert(0, str(CLUSTER))

from testcluster import hosts  # noqa: E402  pylint: disable=wrong-import-position
from testcluster.layout import HOSTS, Layout  # noqa: E402  pylint: disable=wrong-import-position

NAME, NET = "bench", "10.99.0"


def main(rounds: int) -> None:
    seconds: "dict[str, list[float]]" = {"up": [], "down": []}
    verb("down")
    verb("up", "--net", NET)   # the first one may build software
    verb("down")
    try:
        for _round in range(rounds):
            seconds["up"].append(verb("up", "--net", NET))
            memory = proportional_memory(Layout.of_running(NAME))
            seconds["down"].append(verb("down"))
    finally:
        verb("down")
    print(json.dumps({"rounds": rounds,
                      "up_seconds_median": round(statistics.median(seconds["up"]), 2),
                      "up_seconds_max": round(max(seconds["up"]), 2),
                      "down_seconds_median": round(statistics.median(seconds["down"]), 2),
                      "memory_mib": round(memory / 2 ** 20, 1)}))


def verb(*words: str) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, str(CLUSTER / "cluster"), "--name", NAME, *words], check=True,
                   stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def proportional_memory(layout: Layout) -> int:
    """Bytes of all processes of the hosts, pages that are shared counted once (PSS)."""
    total = 0
    for host in HOSTS:
        for pid in hosts.processes(layout, host):
            try:
                lines = pathlib.Path("/proc/%d/smaps_rollup" % pid).read_text(encoding="ascii").splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
