# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `auto` takes, given what was found."""

import dataclasses

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, route_choice, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.route_choice import Finding
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection

LOGIN = Connection.from_arguments("login", "carol")
SOCKET = routes.Target.from_answer({
    "session": "default", "id": "0" * 32, "node": "node1", "relay_dir": "/tmp/jupyter-1-ab",
    "endpoint": {"kind": "socket", "path": "/tmp/s"}})
YES, NO, MAYBE = Finding(True, "", "ssh"), Finding(False, "refused"), Finding(None, "not asked")


def chosen(monkeypatch, tmp_path, relay=NO, jump=NO, direct=NO, reverse=NO, forwarding=YES, target=SOCKET, connection=LOGIN):
    monkeypatch.setattr(route_choice, "_jump", lambda *_: jump)
    monkeypatch.setattr(route_choice, "forwarding_allowed", lambda *_: forwarding)
    found = {
        name: {"works": finding.works, "said": finding.why, "how": finding.how}
        for name, finding in {"relay": relay, "direct": direct, "reverse": reverse}.items()
    }
    return route_choice.choose(lambda verb: {"routes": found}, connection, target, laptop.State(tmp_path / "s")).route


@pytest.mark.parametrize(("found", "route"), [
    ({"relay": YES, "jump": YES}, "relay"),
    ({"jump": YES}, "jump"),
    ({"relay": YES, "forwarding": NO, "jump": YES}, "jump"),
    ({"relay": YES, "forwarding": MAYBE}, "relay"),
    ({"direct": Finding(True, "", "rebind")}, "direct"),
    ({"reverse": YES, "target": dataclasses.replace(SOCKET, reverse_socket="/tmp/r")}, "reverse"),
    ({"reverse": MAYBE}, "reverse"),
    ({"direct": Finding(True, "", "rebind"), "reverse": MAYBE}, "direct"),
    ({"relay": MAYBE, "jump": YES}, "jump"),
    ({"relay": YES, "forwarding": NO, "direct": Finding(True, "", "rebind")}, "direct"),
])
def test_the_first_route_that_works_is_taken(monkeypatch, tmp_path, found, route):
    assert chosen(monkeypatch, tmp_path, **found) == route


@pytest.mark.parametrize("found", [{}, {"direct": YES}, {"relay": YES, "forwarding": NO}])
def test_none_that_fits_is_said_with_each_reason(monkeypatch, tmp_path, found):
    with pytest.raises(route_choice.NoRoute, match="relay: .*jump: refused.*Ask the site"):
        chosen(monkeypatch, tmp_path, **found)


def test_who_can_not_log_in_at_all_has_no_route(monkeypatch, tmp_path):
    outside = Finding(False, "Permission denied (publickey).", "no-login")
    with pytest.raises(route_choice.NoRoute, match="jump: Permission denied.*direct: Permission denied"):
        chosen(monkeypatch, tmp_path, relay=YES, jump=YES, direct=Finding(True, "", "rebind"), forwarding=outside)


def test_a_login_node_that_forbids_a_jump_forbids_direct_as_well(monkeypatch, tmp_path):
    prohibited = Finding(False, "channel 0: open failed: administratively prohibited: open failed")
    with pytest.raises(route_choice.NoRoute, match="direct: .*prohibited"):
        chosen(monkeypatch, tmp_path, relay=YES, jump=prohibited, direct=Finding(True, "", "rebind"), forwarding=NO)


def test_a_guess_is_not_remembered(monkeypatch, tmp_path):
    in_place = dataclasses.replace(LOGIN, in_place=True)
    assert chosen(monkeypatch, tmp_path, connection=in_place) == "jump"
    assert laptop.State(tmp_path / "s").site(in_place.site) == {}
