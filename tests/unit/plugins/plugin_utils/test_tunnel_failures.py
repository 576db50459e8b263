# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a tunnel that does not come up, and what is done about one that hangs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import http_probe
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, reach, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils import tunnel as tunnels
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection
from ansible_collections.hpc.jupyter.plugins.plugin_utils.tunnel import Tunnel, TunnelError

READY = {
    "session": "default", "id": "0" * 32, "node": "node7", "relay_dir": "/tmp/jupyter-1-0123456789abcdef", "connect": "~/.jupyter_connect",
    "endpoint": {"kind": "socket", "path": "/tmp/x/s"},
}
# Takes connections and answers none, as an ssh does whose network is gone.
SILENT = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("said, told", [
    ("jupyter: /home/carol/.jupyter/batch/program.pyz is damaged. Run 'ansible-playbook hpc.jupyter.setup' again.",
     ": /home/carol/.jupyter/batch/program.pyz is damaged. Run 'ansible-playbook hpc.jupyter.setup' again."),
    ("zlib.error: Error -3 while decompressing data: invalid code lengths set",
     "is damaged (zlib.error: Error -3 while decompressing data: invalid code lengths set). 'ansible-playbook hpc.jupyter.setup' puts it right."),
])
def test_a_damaged_installation_is_told_with_its_remedy(tmp_path, said, told):
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho 'Welcome to login.' >&2\ncat >&2 <<'E'\n{said}\nE\nexit 127\n")
    ssh.chmod(0o755)
    tunnel = Tunnel(Connection("login", executable=str(ssh)), "default", laptop.State(tmp_path / "state"))
    with pytest.raises(TunnelError) as failure:
        tunnel.open("relay", routes.Target.from_answer(READY))
    assert failure.value.cause == "installation"
    assert failure.value.message.endswith(told) and "ssh said" not in failure.value.message


def test_a_tunnel_that_another_process_does_not_let_go_of_is_told_and_not_waited_for_endlessly(tmp_path, monkeypatch):
    state = laptop.State(tmp_path / "state")
    held = Tunnel(Connection("login"), "default", state)
    monkeypatch.setattr(tunnels, "LOCK_PATIENCE", 0.1)
    monkeypatch.setattr(Tunnel, "keeper_pid", lambda _: 4242)
    with state.locked(held.key), pytest.raises(TunnelError) as failure:
        held.open("relay", routes.Target.from_answer(READY))
    assert failure.value.cause == "busy" and "'kill 4242' ends it" in failure.value.message


@pytest.fixture
def hanging(tmp_path, monkeypatch):
    """An open tunnel whose ssh holds the session's port and leads nowhere."""
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexit 255\n")
    ssh.chmod(0o755)
    tunnel = Tunnel(Connection("login", executable=str(ssh)), "default", laptop.State(tmp_path / "state"))
    control = tunnel.state.socket_path(tunnel.key)
    asked = []

    def verify(_tunnel, _target, port=None, **_):
        asked.append(port)
        return http_probe.Answer("silent", "no answer")

    monkeypatch.setattr(Tunnel, "verify", verify)
    with subprocess.Popen([sys.executable, "-c", SILENT, control], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline())
        with open(control, "w", encoding="ascii"):
            pass
        tunnel.state.save(tunnel.key, {"port": port, "pid": process.pid, "route": "jump", "argv": ["ssh"]})
        yield tunnel, port, process, asked
        process.kill()


def told(tunnel, **more):
    laptop_here = reach.Laptop(
        connection=tunnel.connection, state=tunnel.state, route="jump", mode="emit", endpoint_wanted=None, ca=None, browser_here=False,
        **dict({"local_port": None}, **more))
    return laptop_here.reach({**READY, "job": "7", "host": "login", "base_url": "/"}, lambda *_: pytest.fail("asked"), print, check=False)


def test_a_command_for_a_person_gets_the_sessions_port_from_a_tunnel_that_hangs(hanging):
    tunnel, port, process, asked = hanging
    answer = told(tunnel)
    assert answer["port"] == port and f":{port}:" in answer["command"] and not answer["open"]
    assert answer["notes"] == ["the tunnel that was open did not work any more (its ssh does not answer); it was closed"]
    process.wait(5)
    assert laptop.port_is_free(port) and asked == [port]


def test_a_port_that_is_another_programs_is_asked_once(hanging, monkeypatch):
    tunnel, port, process, asked = hanging
    monkeypatch.setattr(Tunnel, "_is_there", lambda _: False)
    answer = told(tunnel)
    assert answer["port"] != port and f"local port {port} is in use by another program" in answer["notes"][0]
    assert process.poll() is None and asked == [port]


def test_a_tunnel_that_hangs_and_is_kept_open_is_left_to_its_keeper(hanging, monkeypatch):
    tunnel, port, process, _asked = hanging
    monkeypatch.setattr(Tunnel, "keeper_pid", lambda _: 1)
    assert told(tunnel)["port"] != port and process.poll() is None
