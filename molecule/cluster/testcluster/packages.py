# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian packages that the hosts need."""

from __future__ import annotations

import os
import subprocess
from typing import Callable, List

# slurm-wlm-torque gives qsub, qstat, qdel; libpam-oath and nftables serve the shapes otp and direct-only, reverse-only;
# patchelf makes a Python 2.7 find its libraries in its new place.
PACKAGES = ("slurm-wlm slurm-wlm-torque slurm-wlm-basic-plugins munge openssh-server iproute2 environment-modules "
            "openmpi-bin libopenmpi-dev socat bindfs python3-venv libpam-oath nftables patchelf sudo").split()


def missing() -> List[str]:
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n"] + PACKAGES,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    installed = {line.split()[0] for line in shown.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in PACKAGES if package not in installed]


def install(packages: List[str], say: Callable[[str], None]) -> None:
    """Only while no cluster is up: the hosts' overlays lie on this machine's own /etc and /var.

    Raises subprocess.CalledProcessError if apt can't.
    """
    if not packages:
        return
    say("installing " + " ".join(packages))
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"] + packages
    if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
                      check=False).returncode:
        # The lists of a fresh machine are empty or old.
        subprocess.run(["apt-get", "update", "--quiet"], stdout=subprocess.DEVNULL, env=environment, check=True)
        subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
