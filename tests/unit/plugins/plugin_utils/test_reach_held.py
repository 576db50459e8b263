# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session whose server answers through the tunnel that is open is at hand without a login."""

import http.server
import threading

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, reach, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection
from ansible_collections.hpc.jupyter.plugins.plugin_utils.tunnel import Tunnel

ID = "0123456789abcdef" * 2
VIEW = {
    "session": "default", "id": ID, "job": "7", "node": "node1", "host": "login", "state": "ready", "base_url": "/", "walltime": 7200,
    "time_left": 3600, "relay_dir": "/tmp/jupyter-1-ab", "reverse": None, "endpoint": {"kind": "socket", "path": "/tmp/s"},
    "successor": None, "renewals_left": 0, "renewal_problem": None, "warning": None, "core_hours": 0.5}


class Jupyter(http.server.BaseHTTPRequestHandler):
    """Answers as a session's server does."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("X-Jupyter-Session", self.server.identity)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """The server behind the tunnel."""
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Jupyter)
    made.identity = ID
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def here(server, tmp_path, monkeypatch):
    """Return a function that makes the laptop anew; its tunnel to the server is open, and a launch has remembered the session."""
    state = laptop.State(tmp_path / "state")
    connection = Connection.from_arguments("login", "carol")
    tunnel = Tunnel(connection, "default", state)
    monkeypatch.setattr(Tunnel, "_is_there", lambda *_: True)
    monkeypatch.setattr(Tunnel, "is_up", lambda *_: here.up)

    def here(view=None, mode="open", **more):
        made = reach.Laptop(connection=connection, state=state, mode=mode, ca=None, browser_here=False,
                            **dict({"route": "auto", "endpoint_wanted": None, "local_port": None}, **more))
        if view:
            port = server.server_address[1]
            state.remember_site(connection.site, login="own", route="relay")
            state.save(tunnel.key, {
                "id": view["id"], "port": port, "route": "relay", "pid": 99, "argv": tunnel.command("relay", routes.Target.from_answer(view), port)})
            made.remember(view, "asked")
        return made

    here.up, here.state, here.key = True, state, tunnel.key
    return here


def test_the_view_and_the_tunnel_are_those_of_the_launch_before(here, server):
    view, tunnel = here(VIEW).held("default", "asked")
    assert (view["job"], view["node"], view["time_left"]) == ("7", "node1", 3600)
    # What it has cost by now only the scheduler knows.
    assert view["core_hours"] is None
    port = server.server_address[1]
    assert tunnel["open"] and not tunnel["changed"] and tunnel["url"] == f"http://127.0.0.1:{port}/" and f":{port}:" in tunnel["command"]


@pytest.mark.parametrize("more", [{"mode": "emit"}, {"route": "jump"}, {"local_port": 1}])
def test_another_tunnel_than_the_one_that_is_open_is_not_at_hand(here, more):
    assert here(VIEW).held("default", "asked")
    assert here(**more).held("default", "asked") is None


def test_the_route_that_is_open_may_be_asked_for_by_its_name(here):
    here(VIEW)
    assert here(route="relay").held("default", "asked")


def test_another_request_or_another_session_is_not_at_hand(here):
    assert here(VIEW).held("default", "else") is None and here().held("big", "asked") is None


def test_the_server_of_another_launch_is_not_taken_for_this_one(here, server):
    made = here(VIEW)
    server.identity = "f" * 32
    assert made.held("default", "asked") is None


def test_a_server_that_is_gone_is_asked_about_at_the_login_node(here, server):
    made = here(VIEW)
    server.shutdown()
    server.server_close()
    assert made.held("default", "asked") is None


def test_a_tunnel_whose_ssh_is_gone_is_none_though_another_listens_at_its_port(here):
    made = here(VIEW)
    here.up = False
    assert made.held("default", "asked") is None


def test_what_another_process_is_at_work_on_is_not_waited_for(here):
    made = here(VIEW)
    told = here.state.load(here.key)["told"]
    with here.state.locked(here.key):
        assert made.held("default", "asked") is None
        made.remember(VIEW, "another")
    assert here.state.load(here.key)["told"] == told
    assert made.held("default", "asked")


@pytest.mark.parametrize("more", [
    {"successor": "8"}, {"renewals_left": 1}, {"renewal_problem": "refused"}, {"warning": {"message": "It ends soon"}},
    {"endpoint": {"kind": "tls", "address": "127.0.0.1", "port": 4000, "fingerprint": "f" * 64}}])
def test_a_session_that_has_news_which_its_server_does_not_tell_is_not_remembered(here, more):
    assert here(dict(VIEW, **more)).held("default", "asked") is None


def test_the_time_left_is_reckoned_and_a_session_near_its_end_has_warnings_to_give(here, monkeypatch):
    made = here(VIEW)
    at = here.state.load(here.key)["told"]["at"]
    for seconds, left in ((1000, 2600), (2930, 670), (2950, None), (3700, None), (-5, None)):
        monkeypatch.setattr(reach.time, "time", lambda seconds=seconds: at + seconds)
        found = made.held("default", "asked")
        assert (found and found[0]["time_left"]) == left
    endless = here(dict(VIEW, time_left=None, walltime=None))
    monkeypatch.setattr(reach.time, "time", lambda: at + 3700)
    assert endless.held("default", "asked")
    monkeypatch.setattr(reach.time, "time", lambda: at + 14 * 3600 + 3700)
    assert endless.held("default", "asked") is None


def test_a_short_session_warns_later(here, monkeypatch):
    made = here(dict(VIEW, walltime=600, time_left=590))
    assert made.held("default", "asked")[0]["time_left"] == 590
    at = here.state.load(here.key)["told"]["at"]
    monkeypatch.setattr(reach.time, "time", lambda: at + 420)
    assert made.held("default", "asked") is None


def test_what_lies_in_a_persons_terminal_is_not_remembered(here):
    made = here(VIEW)
    here.state.save(here.key, dict(here.state.load(here.key), pid=0, told=None))
    made.remember(VIEW, "asked")
    assert made.held("default", "asked") is None
