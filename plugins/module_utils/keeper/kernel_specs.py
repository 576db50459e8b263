# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels that need no SQLite in the home."""
from __future__ import absolute_import, division, print_function

import glob
import os
import sys

from .filesystems import on_network
from .private_files import read_json, write_json


def shadow_kernels(directory, env):
    """Copies of the IPython kernels' specs, with the history in memory, so that they need no SQLite in the home.

    :param directory: made for them; it is to stand first in JUPYTER_PATH.
    :returns: how many there are.
    """
    data = [part for part in env.get("JUPYTER_PATH", "").split(os.pathsep) if part]
    data.append(env.get("JUPYTER_DATA_DIR") or os.path.join(env.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share"),
                                                            "jupyter"))
    data.extend([os.path.join(sys.prefix, "share", "jupyter"), "/usr/local/share/jupyter", "/usr/share/jupyter"])
    done = set()
    for path in data:
        for spec in sorted(glob.glob(os.path.join(path, "kernels", "*", "kernel.json"))):
            name = os.path.basename(os.path.dirname(spec)).lower()
            if name in done:
                continue
            done.add(name)
            try:
                kernel = read_json(spec)
                if not any(str(part).startswith("ipykernel") for part in kernel["argv"]):
                    continue
                kernel["argv"] = kernel["argv"] + ["--HistoryManager.hist_file=:memory:"]
            except (ValueError, KeyError, TypeError, IOError, OSError):
                continue
            shadow = os.path.join(directory, "kernels", name)
            os.makedirs(shadow, 0o700)
            for other in os.listdir(os.path.dirname(spec)):  # logos
                if other != "kernel.json":
                    os.symlink(os.path.join(os.path.dirname(spec), other), os.path.join(shadow, other))
            write_json(os.path.join(shadow, "kernel.json"), kernel)
    return len(os.listdir(os.path.join(directory, "kernels"))) if os.path.isdir(directory) else 0


def history_in_memory(wanted):
    """Whether kernels must keep off IPython's history in the home: SQLite hangs or locks on network file systems.

    :param wanted: ``ipython_history`` of the job: "auto", "memory" or "file".
    """
    if wanted == "auto":
        return on_network(os.environ.get("IPYTHONDIR") or os.path.expanduser("~"))
    return wanted == "memory"
