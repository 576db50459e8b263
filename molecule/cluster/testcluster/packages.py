# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian packages that the hosts need."""

from __future__ import annotations

import os
import subprocess
from typing import Callable

# slurm-wlm-torque gives qsub, qstat, qdel; libpam-oath and nftables serve the shapes otp and direct-only, reverse-only.
PACKAGES = ("slurm-wlm slurm-wlm-torque slurm-wlm-basic-plugins munge openssh-server iproute2 environment-modules "
            "openmpi-bin libopenmpi-dev socat bindfs python3-venv libpam-oath nftables").split()


def install_missing(say: Callable[[str], None]) -> None:
    """Install what is missing. Must come before any host is up: their overlays lie on this machine's /etc and /var.

    Raises subprocess.CalledProcessError if apt can't.
    """
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n"] + PACKAGES,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    installed = {line.split()[0] for line in shown.stdout.splitlines() if line.endswith(" installed")}
    missing = [package for package in PACKAGES if package not in installed]
    if not missing:
        return
    say("installing " + " ".join(missing))
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"] + missing
    if subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
                      check=False).returncode:
        subprocess.run(["apt-get", "update", "--quiet"], stdout=subprocess.DEVNULL, env=environment, check=True)
        subprocess.run(install, stdout=subprocess.DEVNULL, env=environment, check=True)
