# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories to copy work when copied and filled in, with the collection built and installed, from any directory."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
import yaml
from harness import PASSWORD, ROOT, Controller, copied


def controller(home, collections, directory, **variables):
    # Its own ansible.cfg names the inventory, so -i only repeats it.
    return Controller(home, collections, "hosts.yml", {"jupyter_password": PASSWORD, **variables}, cwd=directory)


def test_one_cluster(account, installed, tmp_path):
    directory = copied("one-cluster", tmp_path / "mine", LOGIN_EXAMPLE_ORG="login", YOUR_NAME="carol")
    laptop = controller(tmp_path, installed, directory, ansible_ssh_common_args=f"-F {account.ssh_config}", jupyter_memory="300M")
    assert laptop.run("setup").succeeded().changed
    assert not laptop.run("setup").succeeded().changed
    session = laptop.run("launch").succeeded().of("session")
    assert session["state"] == "ready" and session["resources"]["cores"] == 2
    laptop.run("stop").succeeded()


def test_a_site_with_many_users(account, installed, tmp_path):
    account.clear("dave")
    directory = copied("site", tmp_path / "ours", LOGIN_EXAMPLE_ORG="login", QUEUE="batch")
    key = f"-F {account.ssh_config} -i {account.state}/keys/{{{{ ansible_user }}}}"
    staff = controller(tmp_path, installed, directory, ansible_ssh_common_args=key)
    assert staff.run("setup").succeeded().changed
    assert not staff.run("setup").succeeded().changed
    for user, project in (("carol", "PROJECT"), ("dave", "PROJECT2")):
        assert f"#SBATCH -A {project}\n" in account.shell("cat ~/.jupyter/batch/jupyter.slurm", user)
    account.clear("dave")


def test_an_administrator_sets_users_up_over_a_connection_of_their_own(account, collections, tmp_path):
    """One login, and sudo to each user: nothing of the users' is asked for, and they launch by themselves."""
    account.clear("dave")
    account.shell("echo 'carol ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/carol && chmod 440 /etc/sudoers.d/carol", "root")
    try:
        inventory = tmp_path / "users.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"carol": {}, "dave": {}}, "vars": {
            "ansible_host": "login", "ansible_user": "carol", "ansible_become": True, "ansible_become_user": "{{ inventory_hostname }}",
            "ansible_ssh_common_args": f"-F {account.ssh_config}"}}}))
        staff = Controller(tmp_path / "staff", collections, str(inventory), {"jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD})
        staff.home.mkdir()
        staff.cwd = tmp_path
        assert staff.run("setup").succeeded().changed
        assert not staff.run("setup").succeeded().changed
        assert "become dave" in staff.run("launch", "--limit", "dave").failed().message
    finally:
        account.shell("rm -f /etc/sudoers.d/carol", "root")
    assert account.shell("find ~/.jupyter ~/.jupyter_connect ! -user dave", "dave") == ""
    assert " dave@login '~/.jupyter_connect'" in account.shell("head ~/.jupyter_connect", "dave")
    own = tmp_path / "own.yml"
    own.write_text(yaml.safe_dump({"all": {"hosts": {"login": {
        "ansible_user": "dave", "ansible_ssh_common_args": f"-F {account.ssh_config} -i {account.state}/keys/dave"}}}}))
    laptop = Controller(tmp_path / "dave", collections, str(own), {})
    laptop.home.mkdir()
    laptop.cwd = tmp_path
    assert laptop.run("launch").succeeded().of("session")["state"] == "ready"
    laptop.run("stop").succeeded()
    account.clear("dave")


def test_a_part_of_setup_is_done_by_the_name_of_its_role(account, laptop):
    without = Controller(laptop.home, laptop.environment["ANSIBLE_COLLECTIONS_PATH"], laptop.inventory, {"jupyter_modules": ["jupyterlab"]})

    def modules(run):
        return {one["action"] for one in run.succeeded().records} - {"ansible.builtin.validate_argument_spec"}

    assert modules(without.run("setup", "--tags", "batch")) == {"hpc.jupyter.batch"}
    assert "jupyter.slurm" in account.shell("ls ~/.jupyter/batch") and "jupyter_server_config.json" not in account.shell("ls ~/.jupyter")
    assert modules(laptop.run("setup", "--tags", "server")) == {"hpc.jupyter.server"}
    assert laptop.run("launch").succeeded().of("session")["state"] == "ready"


@pytest.mark.parametrize("name", ["one-cluster", "in-place", "localhost", "site", "rhea"])
def test_every_variable_of_an_example_is_one_of_ours(name, installed):
    ansible = str(pathlib.Path(sys.executable).parent / "ansible-inventory")
    listed = subprocess.run([ansible, "-i", str(ROOT / "inventory" / name / "hosts.yml"), "--list"], check=True, text=True, stdout=subprocess.PIPE)
    specifications = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    used = {word for line in listed.stdout.splitlines() for word in [line.strip().split(":")[0].strip('"')] if word.startswith("jupyter_")}
    assert used and not [variable for variable in used if f"      {variable}:\n" not in specifications]
