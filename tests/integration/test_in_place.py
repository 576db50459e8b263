# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks run on the login node itself (ansible_connection: local); the laptop only types what they print."""

from __future__ import annotations

from harness import PASSWORD, free_port, typed
from kernel_client import Jupyter


def test_the_command_that_the_login_node_prints_works_on_the_laptop(account, in_place, tmp_path):
    in_place.variables.update(
        jupyter_login_host="login", jupyter_login_user="carol", jupyter_login_ssh_args=f"-F {account.ssh_config}",
        jupyter_local_port=free_port())
    in_place.run("setup").succeeded()
    assert not in_place.run("setup").succeeded().changed
    launch = in_place.run("launch").succeeded()
    first = launch.of("session")
    assert first["state"] == "ready" and first["tunnel"]["route"] != "none"
    assert f"  {first['tunnel']['command']}\n" in launch.text
    # The laptop has nothing but ssh.
    with typed(first["tunnel"], tmp_path / "ssh.log"):
        told = Jupyter(first["tunnel"]["url"], PASSWORD).run("import socket; print(socket.gethostname())")
    assert told.strip() == first["node"]
    again = in_place.run("launch").succeeded().of("session")
    assert not again["changed"] and again["tunnel"] == first["tunnel"]
    in_place.run("stop").succeeded()
    assert account.jobs() == []


def test_the_login_nodes_own_name_is_printed_where_nothing_else_is_said(account, in_place):
    in_place.run("setup").succeeded()
    tunnel = in_place.run("launch").succeeded().of("session")["tunnel"]
    assert "carol@login" in tunnel["command"]
