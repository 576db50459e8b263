# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that are most likely meant to be ours but are called otherwise, which Ansible lets pass.

A site's own variables may begin with jupyter_, too: only what is nearly one of ours is told, and what ours is called elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ansible_collections.hpc.jupyter.plugins.plugin_utils.variable_names import VARIABLE_NAMES

# From jupyter_core for jupyter_cores down to what has one letter in eight otherwise.
_ALIKE = 0.85
# What schedulers, Jupyter and ssh call it.
_ELSEWHERE = {
    "account": ("allocation", "bank", "charge_account", "project"),
    "batch_options": (
        "constraint", "constraints", "extra_options", "features", "licenses", "nodelist", "options", "qos", "qsub_options", "reservation",
        "sbatch_args", "sbatch_options", "scheduler_options"),
    "conda": ("conda_env", "conda_environment"),
    "container": ("apptainer", "container_image", "singularity"),
    "cores": ("cpu", "cpus", "cpus_per_node", "cpus_per_task", "ncpus", "ntasks", "num_cores", "num_cpus", "ppn", "processes", "procs", "tasks", "threads"),
    "environment": ("env", "env_vars"),
    "gpus": ("gpus_per_node", "gres", "ngpus", "num_gpus"),
    "idle_timeout": ("cull_timeout", "idle", "idle_time"),
    "local_port": ("laptop_port", "port"),
    "mail": ("email", "mail_address", "mail_user"),
    "memory": ("mem", "mem_per_node", "ram"),
    "modules": ("module_load", "modules_load"),
    "nodes": ("nnodes", "node_count", "num_nodes"),
    "password": ("pass", "passwd", "pw"),
    "password_hash": ("hash", "hashed_password"),
    "queue": ("partition",),
    "root_dir": ("dir", "directory", "notebook_dir", "notebooks_dir", "work_dir", "workdir", "working_dir"),
    "scheduler": ("batch_system", "resource_manager"),
    "session": ("job_name", "name", "session_name"),
    "tunnel": ("browser", "open_browser"),
    "venv": ("virtual_env", "virtualenv"),
    "walltime": ("duration", "hours", "runtime", "time", "time_limit", "timelimit"),
}
_OURS = {word: ours for ours, words in _ELSEWHERE.items() for word in words}
# Where there are two of ours, and what is Ansible's own.
_NOT_ONE = {
    "jupyter_timeout": "jupyter_idle_timeout or jupyter_wait_timeout",
    **dict.fromkeys(("jupyter_login", "jupyter_ssh_user", "jupyter_user", "jupyter_username"), "ansible_user"),
    **dict.fromkeys(("jupyter_hostname", "jupyter_ssh_host"), "ansible_host"),
    **dict.fromkeys(("jupyter_key", "jupyter_private_key", "jupyter_ssh_key"), "ansible_ssh_private_key_file"),
    **dict.fromkeys(("jupyter_jump_host", "jupyter_proxy_jump", "jupyter_ssh_args", "jupyter_ssh_options"), "ansible_ssh_common_args"),
    "jupyter_ssh_port": "ansible_port",
}


def _called_elsewhere(name: str) -> str | None:
    for prefix in ("jupyter_parallel_", "jupyter_"):
        ours = prefix + _OURS.get(name.removeprefix(prefix), "")
        if name.startswith(prefix) and ours in VARIABLE_NAMES:
            return ours
    return _NOT_ONE.get(name)


def misspelt(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the names that are most likely meant to be one of ours, each with that one."""
    for name in names:
        if name.startswith("jupyter_") and name not in VARIABLE_NAMES:
            known = _called_elsewhere(name)
            if known:
                yield name, known
                continue
            # Only where there is something to compare, for it takes a while to import.
            import difflib

            for nearest in difflib.get_close_matches(name, VARIABLE_NAMES, 1, _ALIKE):
                yield name, nearest
