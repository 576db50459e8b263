# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab server without a batch system: the playbooks run on it (ansible_connection: local), as an ordinary user."""

from __future__ import annotations

import subprocess
import sys

import pytest
from harness import HERE, PASSWORD, until

SCRIPT = """
import sys
from kernel_client import Jupyter
print(Jupyter(sys.argv[1], sys.argv[2], sys.argv[3]).run("import os; print(os.getuid(), os.uname()[1])"))
"""


def cell(account, url):
    """Run a cell as a browser on that very server does; return what it printed."""
    authority = f"{account.state}/home/carol/.local/share/hpc.jupyter/ca.crt"
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{account.name}-login", sys.executable, "-c", SCRIPT, url, PASSWORD, authority],
        env={"PYTHONPATH": str(HERE)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def lab(in_place):
    in_place.variables["jupyter_scheduler"] = "local"
    return in_place


def test_a_session_and_another_and_nothing_left_behind(account, lab):
    assert lab.run("setup").succeeded().of("batch")["scheduler"] == "local"
    assert not lab.run("setup").succeeded().changed
    one = lab.run("launch", jupyter_session="one").succeeded()
    first = one.of("session")
    assert first["tunnel"]["route"] == "none" and first["tunnel"]["command"] == ""
    assert f"Open in the browser:  {first['tunnel']['url']}" in one.text
    uid = account.shell("id -u").strip()
    assert cell(account, first["tunnel"]["url"]) == [uid, "login"]

    second = lab.run("launch", jupyter_session="two").succeeded().of("session")
    assert second["job"] != first["job"] and second["tunnel"]["url"] != first["tunnel"]["url"]
    assert cell(account, second["tunnel"]["url"]) == [uid, "login"]
    again = lab.run("launch", jupyter_session="one").succeeded().of("session")
    assert not again["changed"] and again["tunnel"] == first["tunnel"]

    lab.run("stop", jupyter_session="one").succeeded()
    assert cell(account, second["tunnel"]["url"]) == [uid, "login"]
    lab.run("stop", jupyter_all_sessions=True).succeeded()
    until(lambda: not account.processes("carol"), "the end of her last process")
    assert account.shell("find /tmp /var/tmp /dev/shm -user carol 2>/dev/null", "root", check=False) == ""
    assert not lab.run("stop").succeeded().changed


def test_a_session_ends_at_its_walltime(account, lab):
    lab.run("setup").succeeded()
    lab.run("launch", jupyter_walltime=12).succeeded()
    until(lambda: not account.processes("carol"), "the end of the walltime")
    view = lab.run("status").succeeded().of("session_info")["sessions"][0]
    assert view["state"] == "finished" and "walltime" in view["reason"]


def test_an_environment_of_ones_own_instead_of_modules(account, lab):
    python = account.shell("module load jupyterlab && command -v python3").strip()
    lab.variables.update(jupyter_modules=[], jupyter_venv=python.removesuffix("/bin/python3"))
    lab.run("setup").succeeded()
    assert lab.run("launch").succeeded().of("session")["state"] == "ready"
    lab.run("stop").succeeded()
