# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Idle servers end, open tabs or not; whatever computes is never cut."""

import os
import shutil
import signal
import time

import pytest
from harness import wait_for

LIMIT = 4.0  # seconds of idle_timeout
KINDS = ["lab", "classic", "old"]


def assert_it_ends_idle(server, last_work):
    assert server.await_exit() == 0
    assert time.monotonic() - last_work >= LIMIT
    state = server.state()
    assert (state["phase"], state["cause"]) == ("ended", "idle")
    assert "jupyter_idle_timeout" in state["reason"]


def assert_it_outlives_the_limit(server):
    """Twice the limit goes by and the server is still there. (What is to be seen here is time itself.)"""
    until = time.monotonic() + 2 * LIMIT
    wait_for(lambda: server.process.poll() is not None or time.monotonic() > until, "twice the limit")
    assert server.process.poll() is None, server.log()


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_tab_does_not_keep_it_but_a_busy_kernel_does(serve, certificates, kind):
    server = serve(kind, certificates(), idle_timeout=LIMIT)
    server.await_ready()
    kernel = server.json("POST", "/api/kernels", {})["id"]
    with server.channels(kernel) as tab:
        server.send(tab, "import time\nuntil = time.time() + %f\nwhile time.time() < until: time.sleep(0.1)" % (2.5 * LIMIT))
        wait_for(lambda: server.kernel_state(kernel) == "busy", "the busy kernel")
        assert_it_outlives_the_limit(server)
        wait_for(lambda: server.kernel_state(kernel) == "idle", "the end of the cell")
        # A tab that asks as a browser's does all the while, and a websocket that stays open: no reason to stay.
        done = time.monotonic()

        def ask():
            try:
                server.request("GET", "/api/kernels")
                server.request("GET", "/api/contents")
            except (OSError, AssertionError):
                pass
            return server.process.poll() is not None
        wait_for(ask, "the end")
        assert_it_ends_idle(server, done - 1)


def test_a_server_that_nobody_used_ends(serve):
    server = serve("lab", {}, idle_timeout=LIMIT)
    server.start()
    started = time.monotonic()
    assert_it_ends_idle(server, started)


def test_a_kernel_that_computes_in_the_background_is_not_cut(serve):
    server = serve("lab", {}, idle_timeout=LIMIT)
    server.await_ready()
    kernel = server.json("POST", "/api/kernels", {})["id"]
    server.run("import threading, time\nend = []\n"
               "def work():\n    while not end: sum(range(10000))\n"
               "threading.Thread(target=work, daemon=True).start()", kernel)
    assert_it_outlives_the_limit(server)
    server.run("end.append(1)", kernel)
    assert_it_ends_idle(server, time.monotonic() - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_in_a_terminal_is_work_and_a_prompt_is_not(serve, certificates, kind):
    server = serve(kind, certificates(), idle_timeout=LIMIT)
    server.await_ready()
    name = server.json("POST", "/api/terminals")["name"]

    import websocket
    connection = websocket.create_connection("ws://127.0.0.1/terminals/websocket/%s" % name, socket=server.connect(), timeout=20,
                                             header=["Authorization: token " + server.token()], suppress_origin=True)
    wait_for(lambda: '"stdout"' in connection.recv(), "the prompt")
    # A program that uses no processor here, as an srun whose tasks run on other nodes.
    connection.send('["stdin", "sleep 1000\\r"]')

    def sleeping():
        return [pid for pid, (argv, _env) in server.processes().items() if argv.startswith(b"sleep\x001000")]

    wait_for(sleeping, "the program")
    assert_it_outlives_the_limit(server)
    connection.send('["stdin", "\\u0003"]')
    wait_for(lambda: not sleeping(), "the end of the program")
    assert_it_ends_idle(server, time.monotonic() - 1)
    connection.close()


@pytest.mark.skipif(not shutil.which("tmux"), reason="no tmux here")
def test_a_program_in_a_detached_tmux_is_work_and_an_empty_one_is_not(serve):
    server = serve("lab", {}, idle_timeout=LIMIT)
    server.await_ready()
    name = server.json("POST", "/api/terminals")["name"]

    import websocket
    connection = websocket.create_connection("ws://127.0.0.1/terminals/websocket/%s" % name, socket=server.connect(), timeout=20,
                                             header=["Authorization: token " + server.token()], suppress_origin=True)
    wait_for(lambda: '"stdout"' in connection.recv(), "the prompt")
    connection.send('["stdin", "tmux new -d; tmux new -d sleep 1000\\r"]')

    def sleeping():
        return [pid for pid, (argv, _env) in server.processes().items() if argv.startswith(b"sleep\x001000")]

    wait_for(sleeping, "the program")
    server.request("DELETE", "/api/terminals/" + name)
    connection.close()
    assert_it_outlives_the_limit(server)
    os.kill(int(sleeping()[0]), signal.SIGTERM)
    wait_for(lambda: not sleeping(), "the end of the program")
    assert_it_ends_idle(server, time.monotonic() - 1)
