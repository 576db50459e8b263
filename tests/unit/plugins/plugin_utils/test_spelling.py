# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of our variables: all known, and what is nearly one of them, or called so elsewhere, told."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import spelling
from ansible_collections.hpc.jupyter.plugins.plugin_utils.spelling import misspelt
from ansible_collections.hpc.jupyter.plugins.plugin_utils.variable_names import VARIABLE_NAMES

ROOT = Path(__file__).resolve().parents[4]


def test_what_lists_the_variables_is_what_roles_and_playbooks_say():
    done = subprocess.run([sys.executable, ROOT / "tools" / "variables", "--check"], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_of_the_variables_has_those_that_only_playbooks_use():
    page = (ROOT / "docs" / "variables.md").read_text(encoding="utf-8")
    for path in (ROOT / "playbooks").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        for name in set(re.findall(r"jupyter_\w+", text)) - set(re.findall(r"register: (\w+)", text)):
            assert f"| `{name}` |" in page, f"{path.name}: {name}"


@pytest.mark.parametrize("name, nearest", [
    ("jupyter_core", "jupyter_cores"), ("jupyter_walltme", "jupyter_walltime"), ("jupyter_pasword", "jupyter_password"),
    ("jupyter_idle_time_out", "jupyter_idle_timeout"), ("jupyter_host", "jupyter_hosts"), ("jupyter_tunel", "jupyter_tunnel"),
])
def test_a_name_that_is_nearly_ours_is_told_with_ours(name, nearest):
    assert list(misspelt(["inventory_hostname", name, "jupyter_cores"])) == [(name, nearest)]


@pytest.mark.parametrize("ours, others", [
    ("jupyter_account", "project"), ("jupyter_batch_options", "qos constraint reservation"), ("jupyter_cores", "cpus ncpus ntasks ppn cpus_per_task"),
    ("jupyter_environment", "env"), ("jupyter_gpus", "gpu gres"), ("jupyter_hosts", "host"), ("jupyter_local_port", "port"),
    ("jupyter_mail", "email"), ("jupyter_memory", "mem ram"), ("jupyter_modules", "module"), ("jupyter_queue", "partition"),
    ("jupyter_root_dir", "notebook_dir workdir"), ("jupyter_session", "name session_name"), ("jupyter_walltime", "time timelimit wall_time hours"),
    ("jupyter_idle_timeout or jupyter_wait_timeout", "timeout"), ("ansible_user", "user username"), ("jupyter_parallel_queue", "parallel_partition"),
])
def test_what_another_system_calls_it_is_told_with_ours(ours, others):
    for word in others.split():
        assert list(misspelt([f"jupyter_{word}"])) == [(f"jupyter_{word}", ours)]


def test_all_that_is_named_instead_is_there():
    ours = [f"jupyter_{name}" for name in spelling._ELSEWHERE]
    ours += [name for names in spelling._NOT_ONE.values() for name in names.split(" or ") if not name.startswith("ansible_")]
    assert set(ours) <= VARIABLE_NAMES
    assert not VARIABLE_NAMES & {f"jupyter_{word}" for word in spelling._OURS} | VARIABLE_NAMES & set(spelling._NOT_ONE)
    assert len(spelling._OURS) == sum(map(len, spelling._ELSEWHERE.values())), "a word that stands for two"


def test_variables_of_others_are_none_of_our_business():
    others = ["jupyterhub_cores", "jupyter_image", "jupyter_proxy_domain", "jupyter_lab_version", "jupyter_extensions", "jupyter_hub_url", "cores"]
    assert list(misspelt(others)) == []
    # What our roles return is known, too.
    assert list(misspelt(["jupyter_sessions", "jupyter_session_result", "jupyter_server", "jupyter_parallel_result", "jupyter_hosts"])) == []


def test_it_is_told_once_for_all_hosts_and_tasks(tmp_path):
    collections = tmp_path / "collections" / "ansible_collections" / "hpc"
    collections.mkdir(parents=True)
    (collections / "jupyter").symlink_to(ROOT)
    (tmp_path / "hosts.ini").write_text("[all]\none jupyter_core=3\ntwo\n[all:vars]\nansible_connection=local\n")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "JUPYTER_", "XDG_"))},
        "HOME": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "300",
    }
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "hosts.ini"), "-e", "jupyter_sesion=x", "hpc.jupyter.status"],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    told = " ".join(done.stdout.split())
    assert told.count("jupyter_core is none of this collection's") == told.count("Was jupyter_cores meant?") == 1, done.stdout
    assert told.count("Was jupyter_session meant?") == 1, done.stdout
