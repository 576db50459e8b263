# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection by its full name, as for the unit tests; a cluster, and a laptop that is set up for it.

HPC_CLUSTER and HPC_CLUSTER_NET name a cluster that stays up after the tests; without them each worker of pytest-xdist
makes one of its own and takes it down again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from harness import HERE, PASSWORD, ROOT, Cluster, Controller, copy_collection

runpy.run_path(str(ROOT / "tests" / "unit" / "conftest.py"))

from lifecycle import person, set_up  # noqa: E402, F401  pylint: disable=unused-import  # fixtures; they need the collection by its name

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
# The controller of pytest-xdist reads this file too, and its workers inherit what it sets here: that is no word of a person's.
_OWN = os.environ.get("HPC_CLUSTER") == os.environ.get("HPC_CLUSTER_OF_WORKER")
if _OWN:
    os.environ["HPC_CLUSTER"] = os.environ["HPC_CLUSTER_OF_WORKER"] = f"it{_WORKER}"
    os.environ["HPC_CLUSTER_NET"] = f"10.96.{_WORKER}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster of this worker, in the default shape (jump-only)."""
    if os.geteuid() != 0:
        pytest.exit("tests/integration makes a cluster of namespaces: run it as root", returncode=1)
    made = Cluster(os.environ["HPC_CLUSTER"], os.environ["HPC_CLUSTER_NET"])
    made.up()
    yield made
    if _OWN:
        made.verb("down")


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A collections path with hpc.jupyter as it is now: an edit of the checkout in the middle of the tests is none of theirs."""
    path = tmp_path_factory.mktemp("collections")
    copy_collection(path / "ansible_collections" / "hpc" / "jupyter")
    return str(path)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A collections path into which ansible-galaxy installed what it built."""
    directory = tmp_path_factory.mktemp("galaxy")
    galaxy = str(pathlib.Path(sys.executable).parent / "ansible-galaxy")
    subprocess.run([galaxy, "collection", "build", str(ROOT), "--output-path", str(directory)], check=True, stdout=subprocess.DEVNULL)
    archive, = directory.glob("hpc-jupyter-*.tar.gz")
    # Without its own path, one that is installed elsewhere would do.
    subprocess.run([galaxy, "collection", "install", str(archive), "-p", str(directory)], check=True, stdout=subprocess.DEVNULL,
                   env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(directory)))
    return str(directory)


@pytest.fixture
def account(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with a fresh account of carol's, and no job of hers left behind."""
    cluster.clear()
    yield cluster
    cluster.clear()


@pytest.fixture
def laptop(account: Cluster, collections: str, tmp_path: pathlib.Path) -> Controller:
    """A laptop that has never run this before."""
    return Controller(tmp_path, collections, account.inventory, {
        "jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD, "jupyter_walltime": "00:10:00"})


@pytest.fixture(scope="session")
def everyones_ansible() -> str:
    """A directory of bin/ with an Ansible that every user and every host of the cluster can run, made once per machine."""
    wanted = [line for line in (ROOT / "tests" / "requirements.txt").read_text(encoding="utf-8").splitlines()
              if re.match(r"ansible-core|argon2|cryptography|libpass", line)]
    directory = pathlib.Path("/opt/hpc-jupyter-cluster", "ansible-" + hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:8])
    directory.parent.mkdir(exist_ok=True)
    with open(directory.parent / ".ansible.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / ".complete").exists():
            shutil.rmtree(directory, ignore_errors=True)
            # The system's, for an interpreter in root's home is nothing to other users.
            subprocess.run(["/usr/bin/python3", "-m", "venv", str(directory)], check=True, umask=0o022)
            subprocess.run([str(directory / "bin" / "python"), "-m", "pip", "install", "-q", *wanted], check=True, umask=0o022)
            (directory / ".complete").touch()
    return str(directory / "bin")


@pytest.fixture
def in_place(account: Cluster, everyones_ansible: str) -> Controller:
    """Carol on the login node, with Ansible and the collection there; what it prints is for the laptop."""
    home = pathlib.Path(account.state, "home", "carol")
    copy_collection(home / "collections" / "ansible_collections" / "hpc" / "jupyter")
    shutil.copytree(HERE / "callback_plugins", home / "callback_plugins")
    (home / "inventory").mkdir()
    (home / "inventory" / "hosts.yml").write_text("all: {hosts: {here: {ansible_connection: local}}}\n", encoding="utf-8")
    account.shell("chown -R carol: /home/carol", "root")
    return Controller(
        pathlib.Path("/home/carol"), "/home/carol/collections", "/home/carol/inventory",
        {"jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD, "jupyter_walltime": "00:10:00"},
        program=f"{everyones_ansible}/ansible-playbook", prefix=[*account.command, "run-as", "carol", "login", "--"],
        environment={"ANSIBLE_CALLBACK_PLUGINS": "/home/carol/callback_plugins"}, cwd=pathlib.Path("/"))
