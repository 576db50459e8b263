# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites with one-time passwords: how many times a person types one is counted in the log of sshd."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
from harness import PASSWORD, Cluster, Controller, free_port, typed, until
from kernel_client import Jupyter
from test_routes_shapes import WHERE, started


@pytest.fixture(scope="module")
def site(cluster: Cluster):
    """A login node that asks for a code at each login, and takes one session for each; the default cluster is there before."""
    made = started("ro", "otp", 220)
    yield made
    made.verb("down")


@pytest.fixture
def account(site: Cluster):
    yield site
    site.clear()


@pytest.fixture
def typing(account: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A person with the token: what ssh asks for is typed."""
    monkeypatch.setenv("SSH_ASKPASS", f"{account.state}/askpass")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    return account


def logins(site: Cluster) -> int:
    return int(site.verb("sshd-log", "login", "--count").stdout)


@pytest.fixture
def on_login(account: Cluster, in_place: Controller) -> Controller:
    """Carol's Ansible on the login node, with what the laptop's command needs."""
    in_place.variables.update(
        jupyter_login_host="login", jupyter_login_user="carol", jupyter_login_ssh_args=f"-F {account.ssh_config}",
        jupyter_local_port=free_port())
    return in_place


def test_one_code_in_all_with_the_playbooks_on_the_login_node(on_login, typing, tmp_path):
    on_login.run("setup").succeeded()
    launch = on_login.run("launch").succeeded().of("session")
    assert launch["tunnel"]["route"] == "relay"
    before = logins(typing)
    with typed(launch["tunnel"], tmp_path / "ssh.log"):
        assert Jupyter(launch["tunnel"]["url"], PASSWORD).run(WHERE).strip() == launch["node"]
    assert logins(typing) == before + 1


def test_one_code_in_all_without_any_ansible_once_the_account_is_set_up(on_login, typing, tmp_path):
    on_login.run("setup").succeeded()
    # What the person reads in the file is what is typed; the session does not run yet.
    lines = pathlib.Path(typing.state, "home", "carol", ".jupyter_connect").read_text().splitlines()
    command = next(line.lstrip("# ") for line in lines if line.startswith("#     ssh "))
    url = next(line.split()[1] for line in lines if line.startswith("#     http://"))
    before = logins(typing)
    with typed({"command": command, "url": url}, tmp_path / "ssh.log"):
        node = Jupyter(url, PASSWORD).run(WHERE).strip()
    assert node in ("node1", "node2") and logins(typing) == before + 1
    assert len(typing.jobs()) == 1
    # The next time it finds the session that runs.
    with typed({"command": command, "url": url}, tmp_path / "ssh2.log"):
        assert Jupyter(url, PASSWORD).run(WHERE).strip() == node
    assert logins(typing) == before + 2 and len(typing.jobs()) == 1


@pytest.fixture
def shared(typing: Cluster):
    """The same login node, but it allows sessions to share a connection."""
    typing.shell("sed -i 's/^MaxSessions.*/MaxSessions 10/' /etc/ssh/sshd_config; pkill -HUP -o sshd", "root")
    yield typing
    typing.shell("sed -i 's/^MaxSessions.*/MaxSessions 1/' /etc/ssh/sshd_config; pkill -HUP -o sshd", "root")


@pytest.mark.parametrize("mode", ["open", "emit"])
def test_a_master_that_was_opened_by_hand_carries_all_with_one_code(shared, collections, tmp_path, mode):
    person = Controller(tmp_path, collections, shared.inventory, {
        "jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD, "jupyter_walltime": "00:10:00",
        "jupyter_local_port": free_port(), "jupyter_tunnel": mode})
    before = logins(shared)
    refused = person.run("setup").failed().of("batch")
    assert logins(shared) == before
    # Ansible can't type a code: its message holds the command that a person types.
    command = next(line.strip() for line in refused["msg"].splitlines() if line.strip().startswith("ssh "))
    subprocess.run(["bash", "-c", command], check=True, timeout=60, env=dict(os.environ, HOME=str(tmp_path)), stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    control = command.split("ControlPath=")[1].split()[0]
    try:
        person.run("setup").succeeded()
        launch = person.run("launch").succeeded().of("session")
        tunnel = launch["tunnel"]
        assert tunnel["open"] == (mode == "open")
        if mode == "open":
            assert Jupyter(tunnel["url"], PASSWORD).run(WHERE).strip() == launch["node"]
            again = person.run("launch").succeeded().of("session")
            assert not again["changed"] and again["tunnel"]["url"] == tunnel["url"]
            person.run("stop").succeeded()
            until(lambda: not [line for line in shared.processes("carol") if "connect" in line], "the end of the relay")
        else:
            for log in ("ssh.log", "ssh2.log"):
                with typed(tunnel, tmp_path / log):
                    assert Jupyter(tunnel["url"], PASSWORD).run(WHERE).strip() == launch["node"]
                # The master still holds the port, which is no reason for another address.
                again = person.run("launch").succeeded().of("session")["tunnel"]
                assert again == tunnel
        assert logins(shared) == before + 1
    finally:
        subprocess.run(["ssh", "-F", "none", "-S", control, "-O", "exit", "login"], check=False, capture_output=True)
