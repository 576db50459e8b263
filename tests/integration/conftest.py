# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection by its full name, as for the unit tests; a cluster, and a laptop that is set up for it.

HPC_CLUSTER and HPC_CLUSTER_NET name a cluster that stays up after the tests; without them each worker of pytest-xdist
makes one of its own and takes it down again.
"""

from __future__ import annotations

import os
import pathlib
import runpy
from collections.abc import Iterator

import pytest
from harness import PASSWORD, ROOT, Cluster, Controller, copy_collection

runpy.run_path(str(ROOT / "tests" / "unit" / "conftest.py"))

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_OWN = "HPC_CLUSTER" not in os.environ
os.environ.setdefault("HPC_CLUSTER", f"it{_WORKER}")
os.environ.setdefault("HPC_CLUSTER_NET", f"10.96.{_WORKER}")


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
