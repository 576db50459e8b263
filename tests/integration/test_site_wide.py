# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installed once by staff for all users of a site: each of them has a password and sessions of their own, and nothing else."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
from collections.abc import Iterator

import pytest
import yaml
from harness import PASSWORD, Cluster, Controller, free_port, typed, until
from kernel_client import Jupyter
from lifecycle import LONG
from users import home_of

# Of the shared file system: nodes see it.
PREFIX = "/home/hpc-jupyter"
WHERE = "import socket; print(socket.gethostname())"
OF_THE_SITE = ["jupyter.slurm", "jupyter_connect", "keeper.pyz", "program.pyz", "python", "site.json"]
RESOURCES = {"jupyter_modules": ["jupyterlab"], "jupyter_walltime": "00:10:00"}


def controller(home: pathlib.Path, collections: str, cluster: Cluster, user: str, more: dict, variables: dict) -> Controller:
    """A laptop of a user's, with an inventory of its own."""
    home.mkdir()
    inventory = home / "hosts.yml"
    ssh = f"-F {cluster.ssh_config} -i {cluster.state}/keys/{user}"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"login": {"ansible_user": user, "ansible_ssh_common_args": ssh, **more}}}}))
    return Controller(home, collections, str(inventory), {"jupyter_site_dir": PREFIX, **variables})


@contextlib.contextmanager
def administrator(cluster: Cluster, user: str) -> Iterator[None]:
    """A user who may become root."""
    rule = f"/etc/sudoers.d/{user}"
    cluster.shell(f"echo '{user} ALL=(ALL) NOPASSWD: ALL' > {rule} && chmod 440 {rule}", "root")
    try:
        yield
    finally:
        cluster.shell(f"rm -f {rule}", "root")


@pytest.fixture(scope="module")
def staff(cluster: Cluster, collections: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Who administers the cluster, after the installation."""
    made = controller(tmp_path_factory.mktemp("staff") / "laptop", collections, cluster, "carol", {"ansible_become": True}, RESOURCES)
    cluster.clear()
    try:
        with administrator(cluster, "carol"):
            told = made.run("site", "--check", "--diff").succeeded()
            assert told.changed and f"after: {PREFIX}/site.json" in told.text
            cluster.shell(f"test ! -e {PREFIX}", "root")
            assert made.run("site").succeeded().changed
        yield made
    finally:
        cluster.shell(f"rm -rf {PREFIX}", "root")
        for user in ("carol", "dave"):
            cluster.clear(user)


@pytest.fixture
def users(staff: Controller, cluster: Cluster, collections: str, tmp_path: pathlib.Path) -> Iterator[dict[str, Controller]]:
    """Laptops of two users with fresh accounts."""
    for user in ("carol", "dave"):
        cluster.clear(user)
    yield {user: controller(tmp_path / user, collections, cluster, user, {}, {"jupyter_password": PASSWORD, "jupyter_local_port": free_port()})
           for user in ("carol", "dave")}
    for user in ("carol", "dave"):
        cluster.clear(user)


def test_what_is_installed_is_for_everybody_to_read_and_for_its_owner_to_change(staff, cluster):
    listed = cluster.shell(f"find {PREFIX} -printf '%m %u %P\\n'", "dave").split("\n")[:-1]
    assert sorted(listed) == sorted([
        "755 root ", "755 root jupyter.slurm", "755 root jupyter_connect", "644 root keeper.pyz", "644 root program.pyz", "755 root python",
        "644 root site.json"])
    public = cluster.shell(f"cat {PREFIX}/site.json {PREFIX}/jupyter.slurm {PREFIX}/jupyter_connect {PREFIX}/python")
    assert not re.search(r"/root\b|/home/(carol|root)|carol", public)
    with administrator(cluster, "carol"):
        assert not staff.run("site").succeeded().changed
        told = staff.run("site", "--check", "--diff", jupyter_modules=["notebook-classic"]).succeeded()
        assert told.changed and "+module load notebook-classic" in told.text
        assert not staff.run("site").succeeded().changed
        refused = staff.run("site", jupyter_venv="~/venv").failed()
        assert refused.result["cause"] == "personal-path" and "jupyter_venv" in refused.message
    # And its root is nobody else's.
    assert staff.run("site", ansible_become=False).failed().result["cause"] == "permission"
    refused = staff.run("site", ansible_become=False, jupyter_site_dir="/opt/hpc-jupyter").failed()
    assert refused.result["cause"] == "permission" and "may not write to /opt" in refused.message and "--become" in refused.message


def test_users_have_a_password_and_sessions_of_their_own_and_nothing_else(users, cluster, tmp_path):
    launched = {}
    for user, laptop in users.items():
        setup = laptop.run("setup").succeeded()
        assert setup.changed and not setup.of("batch")["changed"]
        assert (setup.of("batch")["site_dir"], setup.of("batch")["connect"]) == (PREFIX, f"{PREFIX}/jupyter_connect")
        assert not laptop.run("setup").succeeded().changed
        launched[user] = laptop.run("launch").succeeded().of("session")
        assert f" {PREFIX}/jupyter_connect default --socket " in launched[user]["tunnel"]["command"]
        assert not laptop.run("launch").succeeded().changed
    assert launched["carol"]["job"] != launched["dave"]["job"]
    for user, laptop in users.items():
        session = launched[user]
        with typed(session["tunnel"], tmp_path / f"{user}.log"):
            assert Jupyter(session["tunnel"]["url"], PASSWORD).run(WHERE + "; import os; print(os.environ['USER'])").split() == [session["node"], user]
        # A relay's directory is each user's own, whatever the site installed.
        relays = cluster.shell("ls -d /tmp/jupyter-$(id -u)-*", user).split()
        assert len(relays) == 1 and session["tunnel"]["command"].count(relays[0]) == 2
        listed = laptop.run("status").succeeded().of("session_info")["sessions"]
        assert [(view["session"], view["state"], view["job"]) for view in listed] == [("default", "ready", session["job"])]
        doctor = laptop.run("doctor").succeeded().of("doctor")
        found = {finding["name"]: finding["works"] for finding in doctor["findings"]}
        assert found["setup"] and found["Jupyter"] and found["route relay"], doctor["report"]
        assert laptop.run("stop").succeeded().changed
        names = cluster.shell("find ~ -mindepth 1 -printf '%f\\n'", user).split()
        assert not [name for name in names if name in [*OF_THE_SITE, ".jupyter_connect"]]
        assert cluster.shell("stat -c '%a %U' ~/.jupyter/batch/sessions/default/record.json", user).split() == ["600", user]


def test_a_session_by_hand_and_its_tunnel_by_hand(users, cluster, tmp_path):
    users["dave"].run("setup").succeeded()
    job = cluster.shell(f"cd /tmp && sbatch --parsable -o /dev/null {PREFIX}/jupyter.slurm", "dave").strip()
    server = home_of(cluster, "dave") / ".jupyter/batch/sessions/default/server.json"
    state = until(lambda: server.exists() and (read := json.loads(server.read_text()))["phase"] in ("ready", "failed") and read, "the server")
    assert (state["phase"], state["job"]) == ("ready", job), state
    adopted = users["dave"].run("status").succeeded().of("session_info")["sessions"]
    assert [(view["job"], view["state"]) for view in adopted] == [(job, "ready")]
    said = cluster.shell(f"{PREFIX}/jupyter_connect", "dave", check=False)
    command, = re.findall(r"^ +(ssh -L .*)$", said, re.M)
    assert f" {PREFIX}/jupyter_connect default --socket /tmp/jupyter-" in command
    port = free_port()
    # How the laptop reaches the login node, and as whom, is for the laptop to know.
    command = re.sub(r" dave@\S+ ", f" -F {cluster.ssh_config} -i {cluster.state}/keys/dave dave@login ", command).replace(":8888:", f":{port}:")
    tunnel = {"command": command, "url": f"http://127.0.0.1:{port}/"}
    with typed(tunnel, tmp_path / "ssh.log"):
        assert Jupyter(tunnel["url"], PASSWORD).run(WHERE).strip() == state["node"]
    users["dave"].run("stop").succeeded()
    assert not cluster.jobs("dave")


def test_the_connect_tool_starts_a_session_that_never_was(users, cluster, tmp_path):
    users["dave"].run("setup").succeeded()
    said = cluster.shell(f"{PREFIX}/jupyter_connect --look; {PREFIX}/jupyter_connect --start </dev/null", "dave", check=False)
    assert "--start --socket /tmp/jupyter-" in said
    assert len(cluster.jobs("dave")) == 1


def test_a_session_is_renewed(users, cluster):
    laptop = users["dave"]
    laptop.run("setup").succeeded()
    first = laptop.run("launch", jupyter_renewals=2).succeeded().of("session")
    assert first["successor"]
    cluster.shell(f"scancel {first['job']}", "dave")

    record = home_of(cluster, "dave") / ".jupyter/batch/sessions/default/record.json"
    # Nobody looks meanwhile: the job itself says so, by the program of the prefix for the sessions of the home, and submits the next.
    renewed = until(lambda: (read := json.loads(record.read_text()))["job"] == first["successor"] and read["successor"] and read, "the successor", LONG)
    assert sorted(cluster.jobs("dave")) == sorted([renewed["job"], renewed["successor"]])
    assert laptop.run("launch").succeeded().of("session")["job"] == renewed["job"]
    assert laptop.run("stop").succeeded().changed
    assert not cluster.jobs("dave")


@pytest.mark.parametrize("break_it, mend_it, says", [
    (f"chmod o+w {PREFIX}", f"chmod o-w {PREFIX}", f"{PREFIX} can be written by others"),
    (f"chmod g+w {PREFIX}/program.pyz", f"chmod g-w {PREFIX}/program.pyz", f"{PREFIX}/program.pyz can be written by others"),
    (f"chown carol {PREFIX}/jupyter.slurm", f"chown root {PREFIX}/jupyter.slurm", f"{PREFIX}/jupyter.slurm belongs to user id"),
    ("chmod o+w /home", "chmod o-w /home", "/home can be written by everybody"),
], ids=["the-prefix", "the-program", "somebody-elses-script", "above-it"])
def test_what_others_could_have_changed_is_not_run(users, cluster, break_it, mend_it, says):
    laptop = users["dave"]
    laptop.run("setup").succeeded()
    cluster.shell(break_it, "root")
    try:
        for playbook in ("setup", "launch"):
            run = laptop.run(playbook).failed()
            assert run.result["cause"] == "site-not-safe" and says in run.message, run.message
        assert not cluster.jobs("dave")
    finally:
        cluster.shell(mend_it, "root")
    laptop.run("setup").succeeded()


def test_what_the_site_decided_is_not_silently_something_else(users, cluster):
    laptop = users["dave"]
    for asked, says in (
            ({"jupyter_modules": ["notebook-classic"]}, "jupyter_modules"), ({"jupyter_install": True}, "jupyter_install"),
            ({"jupyter_batch_dir": "~/elsewhere"}, "jupyter_batch_dir is '~/elsewhere'"), ({"jupyter_config_dir": "~/mine"}, "jupyter_config_dir")):
        run = laptop.run("setup", **asked).failed()
        assert run.result["cause"] == "site-differs" and says in run.message and "an installation of your own" in run.message
    laptop.run("setup", jupyter_modules=["jupyterlab"]).succeeded()
    nowhere = laptop.run("setup", jupyter_site_dir="/home/nowhere").failed()
    assert nowhere.result["cause"] == "not-set-up" and "hpc.jupyter.site" in nowhere.message
    # One of their own is theirs to make.
    own = laptop.run("setup", jupyter_site_dir="", jupyter_modules=["jupyterlab"]).succeeded()
    assert own.of("batch")["connect"] == "/home/dave/.jupyter_connect"
