# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person is told of a session."""

import time

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import progress

VIEW = {"session": "default", "node": "node1"}


@pytest.fixture
def desktop(tmp_path, monkeypatch):
    """Return a function that makes this desktop's notify-send."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def notifier(text):
        path = tmp_path / "notify-send"
        path.write_text(text)
        path.chmod(0o755)

    return notifier


def test_a_notification_names_the_session_and_its_address(desktop, tmp_path):
    desktop(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > '{tmp_path}/shown'\n")
    progress.notify(VIEW, "http://127.0.0.1:8888/")
    assert (tmp_path / "shown").read_text().splitlines()[1:] == [
        "Jupyter is ready", "Session default runs on node1: http://127.0.0.1:8888/"]


@pytest.mark.parametrize("program", ["#!/bin/sh\nexec sleep 60\n", "#!/no/such/interpreter\n"], ids=["hangs", "broken"])
def test_a_desktop_that_takes_no_notification_costs_no_launch(desktop, monkeypatch, program):
    monkeypatch.setattr(progress, "NOTIFY_TIMEOUT", 0.2)
    desktop(program)
    progress.notify(VIEW, "http://127.0.0.1:8888/")


READY = dict(VIEW, job="7", time_left=None)
TUNNEL = {"route": "relay", "command": "ssh -L 8888 login", "url": "http://127.0.0.1:8888/", "open": False, "notes": []}


def test_a_tunnel_that_is_open_here_is_no_command_to_type_here():
    lines = progress.ready(READY, dict(TUNNEL, open=True), emit=True).splitlines()
    assert lines[1:3] == ["The tunnel is open on this laptop already.", "Open in the browser:  http://127.0.0.1:8888/"]
    assert lines[3].startswith("On another laptop") and lines[4].strip() == TUNNEL["command"]
    assert "another laptop" not in progress.ready(READY, dict(TUNNEL, open=True))
    assert progress.ready(READY, TUNNEL, emit=True).splitlines()[1].startswith("Type on your laptop")


@pytest.mark.parametrize("differs, said", [
    ({"cores": [4, 2]}, "the running session has cores 4 (asked for: 2)."),
    ({"queue": [None, "gpu"]}, "queue not set (asked for: gpu)."),
    ({"memory": [4 << 30, 512 << 20], "walltime": [3600, 5400]}, "memory 4G (asked for: 512M), walltime 01:00:00 (asked for: 01:30:00)."),
    ({"options": [["-C a"], ["-C b"]]}, "options -C a (asked for: -C b)."),
    ({"renewals": [None, 2], "mail": ["a@b.c", None]}, "mail a@b.c (asked for: none), renewals 0 (asked for: 2)."),
    ({"idle_timeout": [3600, 0], "settings": [None, None]}, "idle_timeout 3600 s (asked for: never), other settings."),
    ({"endpoint": ["socket", "tls"], "root_dir": ["~", "/scratch/\x1b[2Jc"]}, "endpoint socket (asked for: tls), root_dir ~ (asked for: /scratch/c)."),
])
def test_a_launch_says_what_the_session_that_it_found_does_not_have(differs, said):
    (line,) = progress.differences(dict(VIEW, state="ready", session="big"), differs)
    assert said in line and line.endswith("To change that, 'ansible-playbook hpc.jupyter.stop -e jupyter_session=big', then launch again.")


def test_a_session_of_several_nodes_is_shown_as_one():
    view = dict(READY, state="ready", resources={"nodes": 3})
    assert "runs on node1 and 2 more nodes" in progress.ready(view, TUNNEL) and " node1 +2 " in progress.table([view])[1]
    one = dict(view, resources={"nodes": 1})
    assert "more" not in progress.ready(one, TUNNEL) and "+" not in progress.table([one])[1]


def test_a_name_that_no_session_has_is_answered_with_those_that_there_are():
    slip = dict(LOST, session="bigg", others=["big", "default"])
    said = " Running or queued: big, default (jupyter_session)."
    assert progress.stopped([slip], name="bigg") == "Session 'bigg' was not running." + said
    assert progress.problem(slip, launching=False).endswith(said)
    assert "Running or queued" not in progress.stopped([dict(slip, others=[])], name="bigg")


def test_no_sessions_of_an_account_that_is_not_set_up_are_not_to_be_launched():
    assert "hpc.jupyter.setup" in progress.table([], set_up=False)[0] and "hpc.jupyter.launch" in progress.table([])[0]


def test_a_launch_that_finds_what_it_asked_for_says_nothing():
    assert progress.differences(dict(VIEW, state="ready"), {}) == progress.differences(dict(VIEW, state="ready"), None) == []


LOST = dict(VIEW, job=None, state="none", reason="", hopeless=False, log="/home/carol/server.log", set_up=True)


@pytest.mark.parametrize("name, typed", [("default", ""), ("big", " -e jupyter_session=big")])
def test_what_to_type_next_is_about_the_session_that_was_named(name, typed):
    view = dict(LOST, session=name)
    queued = dict(view, job="7", state="queued")
    launch, stop = (f"'ansible-playbook hpc.jupyter.{verb}{typed}'" for verb in ("launch", "stop"))
    assert launch in progress.problem(view, launching=False)
    assert launch in progress.problem(dict(view, job="7", state="failed"), launching=True)
    assert stop in progress.problem(dict(queued, hopeless=True), launching=True)
    assert launch in progress.next_steps(queued) and stop in progress.next_steps(queued)
    lines = []
    progress.Progress(lines.append, "login1").show(queued)
    assert launch in lines[-1] and stop in lines[-1]


def test_a_session_without_a_job_is_not_said_to_have_one():
    assert progress.describe(LOST) == "not running"
    assert progress.describe(dict(LOST, reason="a submission was cut off")) == "not running: a submission was cut off"


def test_a_stop_in_vain_names_the_session_that_it_was_told():
    assert progress.stopped([LOST], name="nosuch") == "Session 'nosuch' was not running."
    assert progress.stopped([LOST], check=True, name="nosuch") == "Session 'nosuch' was not running."
    assert progress.stopped([]) == "No session was running."


def test_the_table_says_when_a_session_ended():
    ended = time.time() - 60
    line = progress.table([dict(LOST, state="failed", job="7", reason="it was cancelled", ended=ended)])[1]
    assert line.endswith(f"ended {progress.clock(ended)} (it was cancelled)")


@pytest.mark.parametrize("rehearsal, said", [
    (None, "was not asked"), ("", "The scheduler would take it."), ("sbatch: no answer", "says now, which may pass: sbatch: no answer.")])
def test_a_check_says_whether_the_scheduler_was_asked(rehearsal, said):
    told = progress.next_steps(dict(LOST, would_submit=True, rehearsal=rehearsal))
    assert "a job would be submitted." in told and said in told
