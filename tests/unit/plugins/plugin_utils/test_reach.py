# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a session to a command: what is asked of the session for a route, and when a route is dropped."""

import socket

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import http_probe
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, reach, route_choice, tunnel
from ansible_collections.hpc.jupyter.plugins.plugin_utils.route_choice import Finding
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection

VIEW = {
    "session": "default", "id": "0" * 32, "job": "7", "node": "node1", "host": "login", "state": "ready", "base_url": "/",
    "relay_dir": "/tmp/jupyter-1-ab", "reverse": None, "control": None, "endpoint": {"kind": "socket", "path": "/tmp/s"}}
NODE = {"kind": "tls", "address": "10.0.0.5", "port": 4000, "fingerprint": "f" * 64}
SITE = "carol@login:22"
NO = Finding(False, "refused")
GUESS = Finding(True, "", "rebind")


class Login:
    """A login node: what its firewall lets through, and the orders that its session got."""

    def __init__(self, direct=True, reverse=True, kernels=False):
        self.direct, self.reverse, self.kernels = direct, reverse, kernels
        self.orders = []

    def __call__(self, verb, **request):
        if verb == "probe":
            return {"routes": {"direct": {"works": self.direct, "said": "filtered"}}}
        order = request["order"]
        self.orders.append(order)
        if "reverse" in order:
            reverse = dict(order["reverse"], state="up" if self.reverse else "retrying")
            return {"done": self.reverse, "refused": "Host key verification failed.", "reverse": reverse}
        if self.kernels:
            return {"done": False, "refused": "1 kernel(s) run"}
        return {"done": True, "endpoint": NODE if order["listen"] == "node" else VIEW["endpoint"]}


@pytest.fixture
def reached(monkeypatch, tmp_path):
    """Return a function that reaches a session at a site where these findings are made."""
    monkeypatch.setattr(route_choice, "_jump", lambda *_: NO)
    monkeypatch.setattr(route_choice, "forwarding_allowed", lambda *_: Finding(True))
    state = laptop.State(tmp_path / "state")

    def reached(login, found, mode="emit", check=False, **more):
        monkeypatch.setattr(route_choice, "probe", lambda *_: dict({"relay": NO, "jump": NO, "direct": NO, "reverse": NO}, **found))
        made = reach.Laptop(connection=Connection.from_arguments("login", "carol"), state=state, mode=mode, ca=None, browser_here=False,
                            **dict({"route": "auto", "endpoint_wanted": "auto", "local_port": None}, **more))
        return made.reach(dict(VIEW), login, lambda text: None, check=check)

    reached.state = state
    return reached


def test_a_server_moves_for_route_direct_once_that_is_all_there_is(reached):
    login = Login()
    answer = reached(login, {"direct": GUESS})
    assert answer["route"] == "direct" and ":node1:4000" in answer["command"]
    assert login.orders == [{"endpoint": "tls", "listen": "node"}]


def test_it_moves_back_when_nothing_was_won_and_the_job_dials_back(reached):
    login = Login(direct=False)
    answer = reached(login, {"direct": GUESS, "reverse": Finding(None)})
    assert answer["route"] == "reverse" and "/tmp/jupyter-1-ab/default-job.sock" in answer["command"]
    moved, back, dialled = login.orders
    assert (moved["listen"], back["listen"]) == ("node", "loopback") and dialled["reverse"]["host"] == "login"
    assert reached.state.site(SITE)["route"] == "reverse"


def test_every_way_that_was_tried_is_in_the_message_when_all_are_closed(reached):
    with pytest.raises(reach.ReachFailed, match="relay: refused; jump: refused; direct: filtered; reverse: .*Host key.*runs on node1") as failed:
        reached(Login(direct=False, reverse=False), {"direct": GUESS, "reverse": Finding(None)})
    assert "'ansible-playbook hpc.jupyter.connect'" in str(failed.value) and "'ansible-playbook hpc.jupyter.stop'" in str(failed.value)
    assert failed.value.cause == "route" and "route" not in reached.state.site(SITE)


def test_what_to_type_next_names_the_session(reached, monkeypatch):
    monkeypatch.setitem(VIEW, "session", "big")
    with pytest.raises(reach.ReachFailed, match="hpc.jupyter.connect -e jupyter_session=big'.*hpc.jupyter.stop -e jupyter_session=big'"):
        reached(Login(direct=False), {"direct": GUESS})


def test_kernels_that_run_keep_a_server_where_it_is(reached):
    with pytest.raises(reach.ReachFailed, match=r"direct: .*can't move there now: 1 kernel"):
        reached(Login(kernels=True), {"direct": GUESS})


def test_a_socket_that_was_asked_for_is_never_made_a_port(reached):
    login = Login()
    with pytest.raises(reach.ReachFailed, match="jupyter_endpoint is socket"):
        reached(login, {"direct": GUESS}, endpoint_wanted="socket")
    assert login.orders == []


def test_a_remembered_route_that_fails_is_dropped_and_another_found_at_once(reached, monkeypatch):
    reached.state.remember_site(SITE, route="relay")

    def opened(held, route, target, *_more, **_options):
        if route == "relay":
            raise tunnel.TunnelError("node", "no way to node1")
        return tunnel.Opened(route=route, port=9000, url="http://127.0.0.1:9000/", command="ssh", pid=1, changed=True)

    monkeypatch.setattr(tunnel.Tunnel, "open", opened)
    assert reached(Login(), {"jump": Finding(True)}, mode="open")["route"] == "jump"
    assert reached.state.site(SITE)["route"] == "jump"


def test_a_session_that_is_over_is_no_reason_to_forget_a_route(reached, monkeypatch):
    reached.state.remember_site(SITE, route="relay")

    def opened(*_arguments, **_options):
        raise tunnel.TunnelError("over", "the session is over")

    monkeypatch.setattr(tunnel.Tunnel, "open", opened)
    with pytest.raises(reach.ReachFailed, match="is over"):
        reached(Login(), {"jump": Finding(True)}, mode="open")
    assert reached.state.site(SITE)["route"] == "relay"


def test_a_launch_asks_for_the_endpoint_of_its_route_only_instead_of_auto(tmp_path):
    def asked(route, endpoint):
        made = reach.Laptop(connection=Connection.from_arguments("login", "carol"), state=laptop.State(tmp_path), mode="emit", ca=None,
                            browser_here=False, route=route, endpoint_wanted=endpoint, local_port=None).endpoint()
        return made["endpoint"], made["endpoint_of_route"], made["listen"]

    assert asked("relay", None) == (None, None, "loopback")
    assert asked("direct", None) == (None, "tls", "node")
    assert asked("direct", "socket") == ("socket", "tls", "node")


def test_a_server_does_not_move_where_setup_was_told_socket(reached, monkeypatch):
    monkeypatch.setitem(VIEW, "endpoint_of_site", "socket")
    login = Login()
    with pytest.raises(reach.ReachFailed, match="jupyter_endpoint is socket"):
        reached(login, {"direct": GUESS}, endpoint_wanted=None)
    assert not any("endpoint" in order for order in login.orders)


@pytest.fixture
def locked_out(monkeypatch):
    """The site asks for a one-time password since yesterday: nothing logs in alone, and a person has opened a connection."""
    monkeypatch.setattr(Connection, "live_master", lambda *_: "/tmp/master")
    monkeypatch.setattr(Connection, "logs_in_alone", lambda *_: False)

    def opened(held, route, target, *_more, **_options):
        if held.connection.master is None:
            raise tunnel.TunnelError("auth", "Permission denied")
        return tunnel.Opened(route=route, port=9000, url="http://127.0.0.1:9000/", command="ssh", pid=1, changed=True)

    monkeypatch.setattr(tunnel.Tunnel, "open", opened)


@pytest.mark.parametrize("route", ["auto", "relay"])
def test_a_site_that_began_to_ask_is_reached_by_the_connection_that_is_open(reached, locked_out, route):
    reached.state.remember_site(SITE, route="relay", login="own")
    assert reached(Login(), {}, mode="open", route=route)["open"]
    assert reached.state.site(SITE) == {"route": "relay", "login": "shared"}


def test_what_was_begun_by_another_way_in_is_not_taken(reached, locked_out, monkeypatch):
    reached.state.remember_site(SITE, route="relay", login="own")
    begun = tunnel.Tunnel(Connection.from_arguments("login", "carol"), "default", reached.state)
    abandoned = []
    monkeypatch.setattr(begun, "abandon", lambda: abandoned.append(True))
    assert reached(Login(), {}, mode="open", _begun=begun)["open"] and abandoned


def test_a_node_that_refuses_is_not_taken_for_a_login_that_asks(reached, locked_out, monkeypatch):
    monkeypatch.setattr(Connection, "logs_in_alone", lambda *_: True)
    reached.state.remember_site(SITE, route="jump", login="own")
    with pytest.raises(reach.ReachFailed, match="Permission denied"):
        reached(Login(), {}, mode="open", route="jump")
    assert reached.state.site(SITE)["login"] == "own"


def test_a_check_says_whether_a_tunnel_would_be_opened_and_remembers_nothing(reached, monkeypatch):
    reached.state.remember_site(SITE, route="relay")
    for up in (False, True):
        monkeypatch.setattr(tunnel.Tunnel, "is_up", lambda *_, up=up: up)
        assert reached(Login(), {}, mode="open", check=True)["changed"] is not up
        assert not reached(Login(), {}, mode="emit", check=True)["changed"]
    assert reached.state.names() == []


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("answers, wanted, is_open", [("ours", None, True), ("ours", 0, True), ("other", None, False), ("ours", 1, False)])
def test_a_command_is_not_to_be_typed_here_where_its_port_leads_to_the_session_already(reached, monkeypatch, answers, wanted, is_open, check):
    reached.state.remember_site(SITE, route="relay")
    monkeypatch.setattr(tunnel.Tunnel, "verify", lambda *_, **__: http_probe.Answer(answers, ""))
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        own = tunnel.Tunnel(Connection.from_arguments("login", "carol"), "default", reached.state)
        reached.state.save(own.key, {"port": port})
        answer = reached(Login(), {"relay": Finding(True)}, check=check, local_port=None if wanted is None else port + wanted)
    assert answer["open"] is is_open
    # A relay has one laptop: that of the open tunnel must not be taken from it.
    relay = "manual" if is_open else reached.state.id
    assert answer["command"].endswith(f"-{relay}.sock") and answer["command_windows"].endswith(f"-{relay}.sock")
    assert any(f"already, at http://127.0.0.1:{port}/" in note for note in answer["notes"]) is (wanted == 1)
    if is_open:
        assert answer["port"] == port and answer["url"] == f"http://127.0.0.1:{port}/" and f":{port}:" in answer["command"]


class Guess(tunnel.Tunnel):
    """A relay that was begun at a site nobody knows yet."""

    def __init__(self, state, works, opens=True):
        super().__init__(Connection.from_arguments("login", "carol"), "default", state)
        self.works, self.opens = works, opens
        self.begun_port = 9000 if works else None
        self.opened = []

    begun_port = None

    def begun_is_ready(self, patience):
        return self.works

    def abandon(self):
        self.begun_port = None

    def open(self, route, target, *_more, **_options):
        self.opened.append(route)
        self.begun_port = None
        if route == "relay" and not self.opens:
            raise tunnel.TunnelError("forbidden", "administratively prohibited")
        return tunnel.Opened(route=route, port=9000, url="http://127.0.0.1:9000/", command="ssh", pid=1, changed=True)


def test_at_a_site_not_known_yet_a_relay_that_was_guessed_saves_the_search(reached, monkeypatch):
    guess = Guess(reached.state, works=True)
    monkeypatch.setattr(route_choice, "choose", lambda *_: pytest.fail("no route is looked for"))
    assert reached(Login(), {}, mode="open", _begun=guess)["route"] == "relay"
    assert reached.state.site(SITE)["route"] == "relay"


@pytest.mark.parametrize("guess", [dict(works=False), dict(works=True, opens=False)])
def test_a_guess_that_was_wrong_is_dropped_and_the_routes_are_tried(reached, guess):
    guess = Guess(reached.state, **guess)
    assert reached(Login(), {"jump": Finding(True)}, mode="open", _begun=guess)["route"] == "jump"
    assert guess.opened[-1] == "jump" and reached.state.site(SITE)["route"] == "jump"
