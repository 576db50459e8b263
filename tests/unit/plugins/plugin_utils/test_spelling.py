# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of our variables: all known, and what is nearly one of them told."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils.spelling import misspelt

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


def test_variables_of_others_are_none_of_our_business():
    others = ["jupyterhub_cores", "jupyter_image", "jupyter_proxy_domain", "jupyter_lab_version", "jupyter_extensions", "cores"]
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
