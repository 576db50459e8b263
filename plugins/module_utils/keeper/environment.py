# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job's environment, evened out for Jupyter, its kernels and its terminals."""
from __future__ import absolute_import, division, print_function

import os

from .allocation import node_lines
from .kernel_specs import history_in_memory, shadow_kernels
from .private_files import write_private
from .processes import ask_command


def environment(job, config, node_dir):
    """The environment variables for Jupyter, with the files that they name.

    :param job: dict of job.json.
    :param config: directory of the server's settings.
    :param node_dir: the job's directory on the node's disk.
    :raises OSError: a file of it can't be written.
    """
    env = dict(os.environ)
    for name in list(env):
        # The first names another host's or an already gone directory; the others would change the server behind our settings.
        if name in ("XDG_RUNTIME_DIR", "JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE", "JUPYTER_PORT", "JUPYTER_PORT_RETRIES",
                    "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS", "JUPYTER_ALLOW_INSECURE_WRITES") or name.startswith("JUPYTERHUB_"):
            del env[name]
    env["JUPYTER_RUNTIME_DIR"] = os.path.join(node_dir, "r")
    env["JUPYTER_CONFIG_PATH"] = _before(config, env.get("JUPYTER_CONFIG_PATH"))
    if job["config_dir"]:
        env["JUPYTER_CONFIG_DIR"] = job["config_dir"]
    if history_in_memory(job["ipython_history"]):
        specs = os.path.join(node_dir, "share")
        if shadow_kernels(specs, env):
            env["JUPYTER_PATH"] = _before(specs, env.get("JUPYTER_PATH"))
    if not env.get("PBS_NODEFILE"):
        lines = node_lines(env, job["cores"], ask_command)
        if lines:
            env["PBS_NODEFILE"] = os.path.join(node_dir, "nodes")
            write_private(env["PBS_NODEFILE"], "".join(line + "\n" for line in lines).encode("utf-8"))
    temporary = env.get("TMPDIR")
    if not temporary or not os.path.isdir(temporary) or not os.access(temporary, os.W_OK | os.X_OK):
        env["TMPDIR"] = "/tmp"
    if any(env.get(name) for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")):
        # Kernels and terminals reach this node's own services without the site's proxy.
        for name in ("no_proxy", "NO_PROXY"):
            known = [part.strip() for part in env.get(name, "").split(",") if part.strip()]
            env[name] = ",".join(known + [host for host in ("localhost", "127.0.0.1", "::1") if host not in known])
    return env


def _before(first, others):
    """A search path with a directory before those that it has."""
    return os.pathsep.join([first] + ([others] if others else []))
