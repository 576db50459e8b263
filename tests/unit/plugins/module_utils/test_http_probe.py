# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers is this session's server, or it is not."""

import socket
import threading

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import http_probe

OURS = "0123456789abcdef" * 2


@pytest.fixture
def server(tmp_path):
    """A server at a unix socket that says one thing to each caller; None keeps it silent."""
    opened = []

    def start(reply):
        listener = socket.socket(socket.AF_UNIX)
        path = str(tmp_path / "s")
        listener.bind(path)
        listener.listen(4)
        opened.append(listener)

        def serve():
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                opened.append(connection)
                if reply is None:
                    continue
                connection.recv(4096)
                connection.sendall(reply)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        return path

    yield start
    for each in opened:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        each.close()


@pytest.mark.parametrize(("reply", "kind"), [
    (b"HTTP/1.1 200 OK\r\nX-Jupyter-Session: %s\r\n\r\n{}" % OURS.encode(), "ours"),
    (b"HTTP/1.1 403 Forbidden\r\nx-jupyter-session:%s\r\n\r\n" % OURS.encode(), "ours"),
    (b"HTTP/1.1 200 OK\r\nX-Jupyter-Session: %s\r\n\r\n" % (b"f" * 32), "other"),
    (b"HTTP/1.1 200 OK\r\n\r\nX-Jupyter-Session: %s\r\n" % OURS.encode(), "other"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "other"),
    (b"", "closed"),
])
def test_only_the_sessions_own_identity_is_good(server, reply, kind):
    assert http_probe.ask(server(reply), OURS).kind == kind


def test_a_server_that_hangs_is_told_from_none(server, tmp_path):
    assert http_probe.ask(server(None), OURS, timeout=0.3).kind == "silent"
    assert http_probe.ask(str(tmp_path / "none"), OURS).kind == "nothing"


def test_a_plain_server_is_not_trusted_with_tls(server):
    assert http_probe.ask(server(b"HTTP/1.1 400 Bad\r\n\r\n"), OURS, tls=True).kind == "untrusted"


def test_escapes_in_an_answer_are_not_shown(server):
    assert "\x1b" not in http_probe.ask(server(b"HTTP/1.1 200 \x1b[31mred\r\n\r\n"), OURS).detail
