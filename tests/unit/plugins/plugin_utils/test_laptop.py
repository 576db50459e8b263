# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the laptop remembers, and the local port of a session."""

import multiprocessing
import os
import socket
import stat

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, routes, tunnel
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection


@pytest.fixture
def state(tmp_path):
    return laptop.State(tmp_path / "state")


def _id_of(directory):
    return laptop.State(directory).id


def test_the_laptop_has_one_id_whoever_asks_first(tmp_path):
    with multiprocessing.get_context("fork").Pool(8) as pool:
        ids = set(pool.map(_id_of, [str(tmp_path / "state")] * 16))
    assert len(ids) == 1 and len(ids.pop()) == 8


def test_a_damaged_id_is_made_anew(state):
    (state.directory / "laptop-id").write_text("../../x")
    assert set(state.id) <= set("0123456789abcdef")


def test_the_state_is_private(state):
    state.save("k", {"port": 1})
    assert stat.S_IMODE(os.stat(state.directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(state.tunnels / "k.json").st_mode) == 0o600


def test_a_control_socket_fits_however_long_the_state_directory_is(tmp_path):
    # ssh adds 17 characters while it makes the socket; macOS takes 104 in all.
    for length in (1, 60, 150):
        made = laptop.State(tmp_path / ("d" * length))
        assert len(made.socket_path(laptop.key("login", "default"))) + 17 < 104
    one, other = (laptop.State(tmp_path / (letter * 150)) for letter in "ab")
    assert one.socket_path("k") != other.socket_path("k")


def test_a_site_is_remembered_and_forgotten(state):
    state.remember_site("carol@login:22", route="jump")
    state.remember_site("carol@login:22", how="ssh")
    assert state.site("carol@login:22") == {"route": "jump", "how": "ssh"}
    state.forget_site("carol@login:22")
    assert state.site("carol@login:22") == {}


@pytest.fixture
def busy():
    """A local port that another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def session_of(state, name="default"):
    return tunnel.Tunnel(Connection.from_arguments("login", "carol"), name, state)


def test_a_session_keeps_its_port_and_leaves_those_of_others(state):
    first, note = session_of(state, "one").choose_port()
    assert note is None
    second, _note = session_of(state, "two").choose_port()
    assert second != first
    assert session_of(state, "one").choose_port() == (first, None)


def test_a_taken_port_gives_the_next_and_says_so(state, busy):
    port, note = session_of(state).choose_port(wanted=busy)
    assert port != busy and str(busy) in note and str(port) in note
    assert session_of(state).choose_port() == (port, None)


def test_no_port_at_all_is_said(monkeypatch):
    monkeypatch.setattr(laptop, "port_is_free", lambda port: False)
    with pytest.raises(laptop.NoPort, match="jupyter_local_port"):
        laptop.choose_port(9000)


TARGET = routes.Target.from_answer({
    "session": "default", "id": "0" * 32, "node": "node1", "relay_dir": "/tmp/jupyter-1-ab",
    "endpoint": {"kind": "socket", "path": "/tmp/s"}})


def test_the_held_command_is_the_emitted_one_that_never_asks(state):
    held = session_of(state)
    argv = held.command("relay", TARGET, 8888)
    running = held.held_argv(argv, "relay")
    assert [word for word in argv if word not in running] == []
    assert running[running.index("BatchMode=yes") - 1] == "-o" and running[-1] == "--machine"
    assert not any("HostKey" in word for word in running)


def test_the_last_event_of_a_relay_is_found_among_what_ssh_says():
    log = 'banner\n{"event": "ready", "node": "n\\u001b[31m1"}\nchannel 2: open failed\n{"event": "beat"}\n{broken\n'
    assert tunnel.last_event(log) == {"event": "ready", "node": "n1"}
    assert tunnel.last_event("nothing") == {}


def test_standard_input_of_a_tunnel_never_ends(state):
    handle = tunnel.endless_stdin(str(state.directory))
    try:
        os.set_blocking(handle, False)
        with pytest.raises(BlockingIOError):
            os.read(handle, 1)
        assert not [name for name in os.listdir(state.directory) if "stdin" in name]
    finally:
        os.close(handle)
