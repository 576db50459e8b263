# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module session does around the program's answers and the laptop's tunnel."""

import datetime
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.hpc.jupyter.plugins.action import session
from ansible_collections.hpc.jupyter.plugins.plugin_utils import certificate, reach
from ansible_collections.hpc.jupyter.plugins.plugin_utils.remote import ProgramFailed

TLS = {"kind": "tls", "address": "127.0.0.1", "port": 4000, "fingerprint": "f" * 64}
READY = {
    "session": "default", "id": "0" * 32, "job": "7", "node": "node1", "host": "login", "state": "ready", "reason": "", "hopeless": False,
    "endpoint": TLS, "time_left": 3600, "log": "/home/carol/server.log", "fingerprint": "x", "changed": True, "config_dir": "/home/carol/.jupyter"}


class Laptop:
    """A laptop whose tunnels always come up."""

    def __init__(self):
        self.closed = []
        self.remembers, self.known = False, None

    def endpoint(self):
        return {}

    def held(self, name, asked):
        return self.known and self.known[0] == asked and self.known[1:]

    def remember(self, view, asked):
        tunnel = {"route": "relay", "command": "ssh login", "url": "http://127.0.0.1:8888/", "port": 8888, "open": True, "notes": [], "changed": False}
        if self.remembers:
            self.known = asked, view, tunnel

    def reach(self, view, program, say, check, fresh):
        return {"route": "relay", "command": "ssh login", "url": "https://127.0.0.1:8888/", "port": 8888, "open": True, "notes": [], "changed": True}

    def close(self, name, check):
        self.closed.append(name)
        return True

    def abandon(self):
        pass


class Login:
    """A login node by its answers: verb -> the answer, or the error."""

    def __init__(self, **answers):
        self.answers = answers
        self.calls = []

    def __call__(self, verb, request, task_vars):
        self.calls.append((verb, request))
        answer = self.answers[verb]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.fixture
def laptop(monkeypatch):
    made = Laptop()
    monkeypatch.setattr(reach.Laptop, "from_task", lambda *_: made)
    return made


@pytest.fixture
def run(laptop):
    """Return a function that runs the module against a login node."""

    def run(login, check=False, hosts=("login1",), **arguments):
        task = MagicMock(args=arguments, async_val=0, check_mode=check, diff=False)
        action = session.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
        action.program = login
        action._display = MagicMock()
        run.action = action
        return action.run(task_vars={"inventory_hostname": "login1", "ansible_play_hosts_all": list(hosts)})

    return run


@pytest.fixture
def browser(monkeypatch):
    """The addresses that the browser of this computer was told to open; it has no desktop yet."""
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(session.sys, "platform", "linux")
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    return opened


SOCKET = dict(READY, endpoint={"kind": "socket", "path": "/tmp/s"})


def test_a_browser_is_opened_on_a_desktop(run, browser, monkeypatch):
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert run(Login(launch=SOCKET), tunnel="browser")["tunnel"]["notes"] == []
    assert browser == ["https://127.0.0.1:8888/"]


def test_a_mac_has_a_desktop_without_saying_so(run, browser, monkeypatch):
    monkeypatch.setattr(session.sys, "platform", "darwin")
    run(Login(launch=SOCKET), tunnel="browser")
    assert browser == ["https://127.0.0.1:8888/"]


def test_without_a_desktop_the_address_is_told_once(run, browser):
    result = run(Login(launch=SOCKET), tunnel="browser")
    assert result["tunnel"]["notes"] == ["no browser could be opened here"]
    assert "Note: no browser could be opened here.\nOpen in the browser:  https://127.0.0.1:8888/" in result["msg"]
    assert result["msg"].count("https://127.0.0.1:8888/") == 1
    assert browser == []


def test_a_launch_that_says_no_endpoint_asks_for_none(run):
    # The login node then takes what setup was told.
    login = Login(launch=SOCKET)
    run(login)
    assert login.calls[0][1]["job"].get("endpoint") is None


def test_a_launch_that_finds_a_session_says_what_it_asked_for_in_vain(run):
    result = run(Login(launch=dict(SOCKET, differs={"cores": [4, 2]})))
    assert "has cores 4 (asked for: 2)" in result["msg"] and "has cores 4 (asked for: 2)" in said(run.action) and "differs" not in result
    queued = dict(SOCKET, state="queued", endpoint=None, differs={"cores": [4, 2]})
    assert "queued session has cores 4 (asked for: 2)" in run(Login(launch=queued), wait_timeout=0)["msg"]


def test_a_session_whose_tunnel_is_held_is_told_as_it_was_without_a_login(run, laptop, browser, monkeypatch):
    laptop.remembers = True
    monkeypatch.setenv("DISPLAY", ":0")
    told = run(Login(launch=SOCKET), tunnel="open", cores=2)
    again = run(Login(), tunnel="browser", cores=2)
    assert again["changed"] is False and browser == ["http://127.0.0.1:8888/"]
    assert {name: value for name, value in again.items() if name not in ("tunnel", "msg", "changed")} == {
        name: value for name, value in told.items() if name not in ("tunnel", "msg", "changed")}
    assert "runs on node1" in said(run.action) and "Open in the browser:  http://127.0.0.1:8888/" in again["msg"]


@pytest.mark.parametrize("more", [{"check": True}, {"cores": 4}, {"settings": {"ServerApp": {"max_body_size": 1}}}, {"batch_dir": "~/elsewhere"}])
def test_what_a_check_looks_at_or_a_launch_asks_anew_the_login_node_is_asked(run, laptop, more):
    laptop.remembers = True
    run(Login(launch=SOCKET), tunnel="open", cores=2)
    again = Login(launch=SOCKET)
    run(again, **dict({"tunnel": "open", "cores": 2}, **more))
    assert [verb for verb, _request in again.calls] == ["launch"]


@pytest.mark.parametrize("told", [{"differs": {"cores": [4, 2]}}, {"outdated": True}])
def test_what_a_person_is_to_be_told_each_time_is_not_forgotten(run, laptop, told):
    laptop.remembers = True
    for _launch in range(2):
        login = Login(launch=dict(SOCKET, **told))
        run(login, tunnel="open")
        assert login.calls


def test_a_session_that_was_submitted_and_cant_be_reached_is_told_with_what_a_play_may_use(run, laptop, monkeypatch):
    def reach_in_vain(*_, **__):
        raise reach.ReachFailed("route", "no way to node1")

    reached = run(Login(launch=SOCKET))
    monkeypatch.setattr(laptop, "reach", reach_in_vain)
    result = run(Login(launch=SOCKET))
    assert result["failed"] and result["changed"] and (result["cause"], result["msg"]) == ("route", "no way to node1")
    assert set(result) - {"failed", "cause"} == set(reached) and not any(result["tunnel"].values())


def test_a_session_that_is_not_ready_has_a_tunnel_of_which_nothing_is_known(run):
    known = set(run(Login(launch=SOCKET))["tunnel"])
    absent = dict(SOCKET, state="none", job=None, node=None, endpoint=None, would_submit=True, set_up=True)
    waiting = dict(SOCKET, state="queued", endpoint=None)
    for result in (run(Login(launch=absent), check=True), run(Login(launch=waiting), wait_timeout=0)):
        assert set(result["tunnel"]) >= known and not any(result["tunnel"].values())


def stopped(name):
    return {"session": name, "state": "stopped", "job": "7", "node": "node1"}


def test_tunnels_of_the_sessions_that_ended_are_closed_though_another_did_not(run, laptop):
    left = {"session": "stuck", "msg": "Job 9 of session 'stuck' could not be cancelled.", "cause": "not-cancelled"}
    result = run(Login(stop={"changed": True, "sessions": [stopped("one"), stopped("two")], "not_stopped": [left]}), state="stopped", all=True)
    assert laptop.closed == ["one", "two"]
    assert result["failed"] and result["changed"] and result["cause"] == "not-cancelled" and result["not_stopped"] == [left]
    assert "Ended: 'one' (job 7), 'two' (job 7)." in result["msg"] and left["msg"] in result["msg"]


def test_a_stop_of_all_that_ends_none_does_not_say_that_none_was_running(run):
    left = {"session": "stuck", "msg": "Job 9 of session 'stuck' could not be cancelled.", "cause": "not-cancelled"}
    assert run(Login(stop={"changed": False, "sessions": [], "not_stopped": [left]}), state="stopped", all=True)["msg"] == left["msg"]


def test_a_stop_that_ends_all_says_so(run, laptop):
    result = run(Login(stop={"changed": True, "sessions": [stopped("one")], "not_stopped": []}), state="stopped")
    assert not result.get("failed") and result["msg"] == "Ended: 'one' (job 7)." and laptop.closed == ["one"]


def test_a_stop_in_vain_names_the_session(run):
    nothing = Login(stop={"changed": False, "sessions": [dict(stopped("nosuch"), state="none", job=None)], "not_stopped": []})
    assert run(nothing, state="stopped", name="nosuch")["msg"] == "Session 'nosuch' was not running."
    assert run(nothing, state="stopped", all=True)["msg"] == "No session was running."


def test_of_several_hosts_each_is_named(run):
    launch, stop = Login(launch=SOCKET), Login(stop={"changed": True, "sessions": [stopped("one")], "not_stopped": []})
    for hosts, ready, ended in ((["login1"], "", ""), (["login1", "login2"], "[login1]\n", "[login1] ")):
        result = run(launch, hosts=hosts)
        assert run.action._display.display.call_args.args[0] == ready + result["msg"]
        result = run(stop, hosts=hosts, state="stopped")
        assert run.action._display.display.call_args.args[0] == ended + result["msg"]


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """A certificate authority, and what server_inspect says of a certificate of its that is about to end."""
    made = certificate.Authority.open(tmp_path / "ca")
    now = certificate._now()
    with monkeypatch.context() as context:
        context.setattr(certificate, "_now", lambda: now - datetime.timedelta(days=80))
        old = made.issue(90, "rsa")
    made.found = {"certificate": {"pem": old.certificate, "key": "good"}}
    return made


def said(action):
    return " ".join(call.args[0] for call in action._display.display.call_args_list)


def test_a_launch_renews_a_certificate_by_one_of_its_kind(run, authority):
    login = Login(launch=READY, server_inspect=authority.found, server_apply={"changed": True})
    result = run(login, ca_dir=str(authority.directory))
    pair = login.calls[-1][1]["certificate"]
    assert result["changed"] and login.calls[-1][0] == "server_apply"
    assert certificate.needs_renewal(pair["certificate"], authority, "good", 80, "rsa") is None


@pytest.mark.parametrize("error", [
    ProgramFailed({"failed": True, "msg": "Your quota is used up."}), AnsibleConnectionFailure("Connection reset")], ids=["refused", "cut off"])
@pytest.mark.parametrize("verb", ["server_inspect", "server_apply"])
def test_a_session_that_is_ready_does_not_fail_for_its_next_certificate(run, authority, verb, error):
    login = Login(**dict({"launch": READY, "server_inspect": authority.found, "server_apply": {"changed": True}}, **{verb: error}))
    result = run(login, ca_dir=str(authority.directory))
    assert not result.get("failed") and result["state"] == "ready" and result["tunnel"]["open"]
    assert f"the certificate was left as it is: {error}" in said(run.action)


def test_a_laptop_with_only_the_certificate_of_the_authority_is_told_nothing(run, authority):
    (authority.directory / "ca.key").unlink()
    login = Login(launch=READY, server_inspect=authority.found)
    assert run(login, ca_dir=str(authority.directory))["state"] == "ready"
    assert "ca.crt" not in said(run.action)
