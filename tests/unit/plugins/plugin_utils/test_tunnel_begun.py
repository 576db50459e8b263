# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tunnel that is begun while the server starts is taken over by open, or leaves nothing behind."""

from __future__ import annotations

import os
import socket

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection
from ansible_collections.hpc.jupyter.plugins.plugin_utils.tunnel import Tunnel

STARTING = {"session": "default", "id": "0" * 32, "node": None, "relay_dir": "/tmp/jupyter-1-0123456789abcdef"}


@pytest.fixture
def tunnel(tmp_path):
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nexec cat\n')
    ssh.chmod(0o755)
    made = Tunnel(Connection("login", executable=str(ssh)), "default", laptop.State(tmp_path / "state"))
    yield made
    made.abandon()


def alive(process):
    return process.poll() is None


def test_one_ssh_is_begun_and_abandoned(tunnel, tmp_path):
    target = routes.Target.of_a_start(STARTING)
    tunnel.begin(target)
    process = tunnel._begun[0]
    port = tunnel.begun_port
    tunnel.begin(target)
    assert port and tunnel.begun_port == port and alive(process) and tunnel._begun[0] is process
    tunnel.abandon()
    assert not alive(process) and tunnel.begun_port is None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_what_was_begun_is_taken_over_for_the_same_command_only(tunnel):
    target = routes.Target.of_a_start(STARTING)
    tunnel.begin(target)
    process, port = tunnel._begun[0], tunnel.begun_port
    # Where the server runs in the end does not matter to a relay.
    ready = routes.Target.from_answer(dict(STARTING, node="node7", endpoint={"kind": "socket", "path": "/tmp/x/s"}))
    assert tunnel._take_begun(tunnel.command("relay", ready, port)) is process and alive(process)
    process.kill()
    process.wait()

    tunnel.begin(target)
    other = tunnel._begun[0]
    assert tunnel._take_begun(tunnel.command("jump", ready, tunnel.begun_port)) is None
    assert not alive(other)


def test_a_port_that_is_in_use_is_left_to_open_which_can_tell_whose_it_is(tunnel):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tunnel.state.save(tunnel.key, {"port": port})
        tunnel.begin(routes.Target.of_a_start(STARTING))
        assert tunnel.begun_port is None
        assert tunnel.state.load(tunnel.key) == {"port": port}, "it comes back to its port, and nobody was told of another"
