# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can't work is told in words: what happened, what was left as it was, what to set. Nothing is submitted or changed."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from harness import PASSWORD, Cluster, Controller, Run, free_port


@pytest.fixture(scope="module")
def account(cluster: Cluster) -> Iterator[Cluster]:
    """Carol's account; set up by `site` and left as it was by every test here."""
    cluster.clear()
    yield cluster
    cluster.clear()


@pytest.fixture(scope="module")
def site(account: Cluster, collections: str, tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """A laptop whose account is set up."""
    made = Controller(tmp_path_factory.mktemp("laptop"), collections, account.inventory, {
        "jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD, "jupyter_walltime": "00:05:00"})
    made.run("setup").succeeded()
    return made


# Every file of the home, the jobs that are not over, the number of the next one, and what a session's directory holds.
LOOK = r"""
cd; find . -path ./.ssh -prune -o -path ./.jupyter/batch/sessions -prune -o -type f -printf '%p %m %s %T@\n' -o -type d -printf '%p %m\n' | sort
squeue -h -u carol -o %i; scontrol show config | grep NEXT_JOB_ID
find ~/.jupyter/batch/sessions -type f
"""


@contextlib.contextmanager
def nothing_changes(account: Cluster) -> Iterator[None]:
    """Assert that the block submits no job, changes no file of the home, and leaves nothing of a session."""
    before = account.shell(LOOK)
    yield
    assert account.shell(LOOK) == before


def says(run: Run, cause: str | None, *texts: str) -> None:
    """Assert that a failure has a cause for programs and these words for people, shown on the screen as well."""
    run.failed()
    print(run.message)
    if cause:
        assert run.result.get("cause") == cause, run.text
    for text in texts:
        assert text in run.message, run.message
    # Ansible folds and quotes as it likes; the first words are enough to know that it was shown.
    assert run.message[:12].strip("'\"") in run.text, run.text


@pytest.mark.parametrize("variables, cause, texts", [
    pytest.param({"jupyter_queue": "nonsense"}, "refused", ["Nothing was submitted", "jupyter_queue"], id="unknown-queue"),
    pytest.param({"jupyter_queue": "short", "jupyter_walltime": "02:00:00"}, "refused", ["Nothing was submitted", "jupyter_walltime"],
                 id="walltime-over-the-limit"),
    pytest.param({"jupyter_account": "no such account"}, "bad-resources", ["Nothing was submitted", "jupyter_account"], id="odd-account"),
    pytest.param({"jupyter_memory": "lots"}, "bad-resources", ["Nothing was submitted", "jupyter_memory", "'lots'"], id="nonsense-memory"),
    pytest.param({"jupyter_walltime": "soon"}, "bad-resources", ["Nothing was submitted", "jupyter_walltime"], id="nonsense-walltime"),
    pytest.param({"jupyter_nodes": 0}, "bad-resources", ["Nothing was submitted", "jupyter_nodes"], id="no-nodes"),
    pytest.param({"jupyter_session": "../default"}, "bad-name", ["Nothing was submitted", "jupyter_session"], id="name-with-dots"),
    pytest.param({"jupyter_session": "my session"}, "bad-name", ["Nothing was submitted", "jupyter_session"], id="name-with-a-space"),
    pytest.param({"jupyter_session": "it's"}, "bad-name", ["Nothing was submitted", "jupyter_session"], id="name-with-a-quote"),
    pytest.param({"jupyter_session": "$(touch x)"}, "bad-name", ["Nothing was submitted", "jupyter_session"], id="name-with-a-command"),
])
def test_a_launch_that_cannot_work(account, site, variables, cause, texts):
    with nothing_changes(account):
        says(site.run("launch", **variables), cause, *texts)


def test_more_than_any_node_has_is_never_left_in_the_queue_unseen(account, site):
    with nothing_changes(account):
        says(site.run("launch", jupyter_cores=400), "refused", "Nothing was submitted")


@pytest.mark.parametrize("variables, cause, texts", [
    pytest.param({"jupyter_modules": ["no-such-module"]}, "module-missing", ["Nothing was changed", "jupyter_modules", "no-such-module"],
                 id="no-such-module"),
    pytest.param({"jupyter_modules": ["openmpi"]}, "jupyter-missing", ["Nothing was changed", "jupyter_modules", "jupyter_install: true"],
                 id="jupyter-missing"),
    pytest.param({"jupyter_scheduler": "openpbs"}, "no-scheduler", ["Nothing was changed", "jupyter_scheduler"], id="wrong-scheduler"),
    pytest.param({"jupyter_memory": "4 potatoes"}, "bad-resources", ["Nothing was changed", "jupyter_memory"], id="nonsense-memory"),
    pytest.param({"jupyter_password": ""}, "password", ["Nothing was changed", "jupyter_password"], id="empty-password"),
    pytest.param({"jupyter_scheduler": "sge"}, None, ["sge", "slurm"], id="no-such-dialect"),
])
def test_a_setup_that_cannot_work(account, site, variables, cause, texts):
    with nothing_changes(account):
        says(site.run("setup", **variables), cause, *texts)


def test_a_launch_before_any_setup_names_the_setup(account, site):
    with nothing_changes(account):
        says(site.run("launch", jupyter_batch_dir="~/elsewhere"), "not-set-up", "Nothing was submitted", "hpc.jupyter.setup")
        assert "elsewhere" not in account.shell("ls ~")


@pytest.mark.parametrize("playbook", ["setup", "launch", "stop"])
def test_a_host_that_cannot_be_reached(account, site, playbook):
    with nothing_changes(account):
        run = site.run(playbook, ansible_host="127.0.0.1", ansible_port=free_port())
        says(run, "unreachable", "127.0.0.1", "Nothing was changed")
        assert run.result["unreachable"]


def test_a_scheduler_that_is_down(account, site):
    with nothing_changes(account):
        account.verb("scheduler", "stop")
        try:
            says(site.run("launch"), "scheduler-down", "Nothing was submitted", "launch again")
            # What a setup needs of it was found before.
            assert not site.run("setup").succeeded().changed
        finally:
            account.verb("scheduler", "start")


def test_a_home_that_is_full(account, site):
    with nothing_changes(account):
        account.verb("home", "full")
        try:
            says(site.run("launch"), "disk-full", "/home/carol/.jupyter/batch/sessions/default", "Nothing was submitted")
            says(site.run("setup", jupyter_cores=2), "disk-full", "Nothing was changed")
        finally:
            account.verb("home", "free")


def test_a_local_port_that_is_taken_is_said_and_another_one_used(account, site):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        launch = site.run("launch", jupyter_local_port=taken).succeeded()
    tunnel = launch.of("session")["tunnel"]
    assert tunnel["port"] != taken and str(taken) in launch.text and str(tunnel["port"]) in tunnel["command"]
    site.run("stop").succeeded()
