# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose server a tunnel leads to: a person's own terminal, another laptop's certificate."""

from __future__ import annotations

import http.server
import ssl
import threading

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import certificate, laptop, routes, tunnel_keeper
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection
from ansible_collections.hpc.jupyter.plugins.plugin_utils.tunnel import Tunnel

ID = "0123456789abcdef" * 2


class Jupyter(http.server.BaseHTTPRequestHandler):
    """Answers as the session's server does."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("X-Jupyter-Session", ID)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Return a function that serves at a local port, with a certificate if one is given, and returns that port."""
    servers = []

    def serve(issued=None, directory=None):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Jupyter)
        if issued:
            (directory / "pair.pem").write_text(issued.certificate + issued.key)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(directory / "pair.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_address[1]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def target(endpoint, port=None):
    return routes.Target.from_answer({
        "session": "default", "id": ID, "node": "node1", "base_url": "/", "relay_dir": "/tmp/jupyter-1-ab",
        "connect": "~/.jupyter_connect", "endpoint": endpoint})


def test_a_certificate_of_another_laptop_is_known_by_its_fingerprint_and_said(serve, tmp_path):
    authorities = {name: certificate.Authority.open(tmp_path / name) for name in ("here", "there")}
    issued = authorities["there"].issue()
    port = serve(issued, tmp_path)
    found = certificate.fingerprint(issued.certificate)
    ours = target({"kind": "tls", "address": "127.0.0.1", "port": port, "fingerprint": found})
    for name, warned in (("here", True), ("there", False)):
        made = Tunnel(Connection("login"), "default", laptop.State(tmp_path / "state"), str(tmp_path / name / "ca.crt"))
        assert made.verify(ours, port).kind == "ours"
        assert bool(made._browser_warns(ours, port)) == warned
    other = target({"kind": "tls", "address": "127.0.0.1", "port": port, "fingerprint": "ab" * 32})
    assert made.verify(other, port).kind == "untrusted"


def test_a_tunnel_in_a_persons_terminal_is_kept_by_looking_now_and_then(serve, tmp_path, monkeypatch):
    port = serve()
    state = laptop.State(tmp_path / "state")
    made = Tunnel(Connection("login"), "default", state)
    state.save(made.key, {"port": port})
    where = target({"kind": "socket", "path": "/tmp/s"})
    opened = made.open("relay", where)
    assert opened.port == port and not opened.changed and "another terminal" in opened.notes[0]

    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            # It is not wanted any more.
            state.save(made.key, dict(state.load(made.key), keep=False))

    monkeypatch.setattr(tunnel_keeper.time, "sleep", pause)
    monkeypatch.setattr(tunnel_keeper.signal, "signal", lambda *_: None)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("there is nothing to open"))
    monkeypatch.setattr(Tunnel, "keeper_pid", lambda *_: 1)
    made._keep(where)
    assert tunnel_keeper.keep(str(state.directory), made.key) == 0
    assert pauses == 3 * [tunnel_keeper.LOOK]
