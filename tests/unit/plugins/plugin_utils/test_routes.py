# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes as commands, and what of a cluster's answer may go into them."""

import dataclasses
import subprocess

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection

LOGIN = Connection.from_arguments("login", "carol")
SOCKET = {
    "session": "default", "id": "0" * 32, "node": "node1", "base_url": "/", "relay_dir": "/tmp/jupyter-1-ab",
    "endpoint": {"kind": "socket", "path": "/tmp/jupyter-xy/server.sock"},
}
TLS = dict(SOCKET, endpoint={"kind": "tls", "address": "node1", "port": 41000, "fingerprint": "ab" * 32})
TLS_LOOPBACK = dict(SOCKET, endpoint={"kind": "tls", "address": "127.0.0.1", "port": 41000, "fingerprint": "ab" * 32})


def planned(route, answer, **more):
    return routes.plan(route, LOGIN, routes.Target.from_answer(dict(answer, **more)), 8888, "00c0ffee")


@pytest.mark.parametrize(("route", "answer", "forward", "end"), [
    ("relay", SOCKET, "127.0.0.1:8888:/tmp/jupyter-1-ab/default-00c0ffee.sock",
     ["carol@login", "~/.jupyter_connect", "default", "--socket", "/tmp/jupyter-1-ab/default-00c0ffee.sock"]),
    ("relay", TLS, "127.0.0.1:8888:/tmp/jupyter-1-ab/default-00c0ffee.sock",
     ["carol@login", "~/.jupyter_connect", "default", "--socket", "/tmp/jupyter-1-ab/default-00c0ffee.sock"]),
    ("jump", SOCKET, "127.0.0.1:8888:/tmp/jupyter-xy/server.sock", ["carol@node1"]),
    ("jump", TLS_LOOPBACK, "127.0.0.1:8888:127.0.0.1:41000", ["carol@node1"]),
    ("direct", TLS, "127.0.0.1:8888:node1:41000", ["carol@login"]),
    ("reverse", dict(SOCKET, reverse_socket="/tmp/r.sock"), "127.0.0.1:8888:/tmp/r.sock", ["carol@login"]),
])
def test_each_route_forwards_a_loopback_port_to_the_endpoint(route, answer, forward, end):
    argv = planned(route, answer)
    assert argv[argv.index("-L") + 1] == forward
    assert argv[-len(end):] == end
    assert ("-N" in argv) == (route != "relay")


@pytest.mark.parametrize("route", ["relay", "jump", "direct", "reverse"])
def test_no_route_weakens_host_keys_or_hands_on_the_agent(route):
    argv = planned(route, TLS, reverse_socket="/tmp/r.sock")
    assert "-a" in argv and "-x" in argv and "ExitOnForwardFailure=yes" in argv
    assert not any("HostKey" in word or "KnownHosts" in word or word in ("-A", "-X", "-Y", "-g") for word in argv)


@pytest.mark.parametrize(("route", "answer", "remedy"), [
    ("direct", SOCKET, "jupyter_endpoint to tls"), ("direct", TLS_LOOPBACK, "jupyter_endpoint to tls"),
    ("none", SOCKET, "jupyter_endpoint to tls"), ("reverse", SOCKET, "reverse"), ("relay", dict(SOCKET, relay_dir=""), "setup"),
    ("relay", dict(SOCKET, relay_dir="/" + "d" * 100), "jupyter_relay_dir"), ("sideways", SOCKET, "relay, jump, direct"),
])
def test_a_route_that_does_not_fit_says_what_to_set(route, answer, remedy):
    with pytest.raises(routes.RouteError, match=remedy):
        planned(route, answer)


@pytest.mark.parametrize("change", [
    {"session": "../x"}, {"session": "a b"}, {"id": "xyz"}, {"node": "-oProxyCommand=evil"}, {"node": "a;b"}, {"base_url": "//evil"},
    {"relay_dir": "/tmp/$(evil)"}, {"relay_dir": "relative"}, {"endpoint": {"kind": "socket", "path": "/tmp/a b"}},
    {"endpoint": {"kind": "socket"}}, {"endpoint": {"kind": "tls", "port": 0}}, {"endpoint": {"kind": "tcp", "port": 1}}, {"endpoint": None},
    {"reverse_socket": "/tmp/`evil`"}, {"connect": "evil; rm"}, {"connect": "~evil"},
    {"connect": "/home/x/{a,b}"}, {"relay_dir": "/tmp/a:b"}, {"relay_dir": "/tmp/%h"}, {"node": "node1\nx"},
])
def test_an_odd_answer_never_reaches_a_command(change):
    with pytest.raises(routes.RouteError):
        routes.Target.from_answer(dict(SOCKET, **change))


@pytest.mark.parametrize("home", ["/home/carol@ad.example.edu", "/home/EXAMPLE+carol", "/users/o=phys,ou=staff/carol", "/vol:1/carol"])
def test_a_home_of_a_directory_service_reaches_the_login_nodes_shell_as_it_is(home):
    argv = planned("relay", dict(SOCKET, connect=f"{home}/.jupyter_connect"))
    word = argv[argv.index("carol@login") + 1]
    for shell in ("sh", "bash"):
        assert subprocess.run([shell, "-c", f"printf %s {word}"], capture_output=True, text=True, check=True).stdout == f"{home}/.jupyter_connect"


def test_a_nodes_directory_may_be_named_after_such_a_user():
    argv = planned("jump", dict(SOCKET, endpoint={"kind": "socket", "path": "/scratch/carol@ad.example.edu/1/s"}))
    assert argv[argv.index("-L") + 1].endswith(":/scratch/carol@ad.example.edu/1/s")


def test_addresses():
    target = routes.Target.from_answer(dict(SOCKET, base_url="/user/x/"))
    assert routes.url("relay", target, 8888) == "http://127.0.0.1:8888/user/x/"
    assert routes.url("none", routes.Target.from_answer(TLS_LOOPBACK), 8888) == "https://127.0.0.1:41000/"
    assert routes.plan("none", LOGIN, routes.Target.from_answer(TLS_LOOPBACK), 0) == []


def test_what_worked_last_time_is_tried_first():
    assert routes.order({"route": "direct"}) == ["direct", "relay", "jump", "reverse"]
    assert routes.order({}) == list(routes.AUTO)


def test_an_address_of_ipv6_is_bracketed():
    target = dataclasses.replace(routes.Target.from_answer(TLS_LOOPBACK), address="::1")
    argv = routes.plan("jump", LOGIN, target, 8888)
    assert "127.0.0.1:8888:[::1]:41000" in argv
