# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on clusters: what the person sees, what is left, and that the next command works.

Each scenario records its own outcome; tools/faults-table makes docs/faults.md of them.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest
from harness import PASSWORD, ROOT, free_port, runs, until
from kernel_client import Jupyter
from lifecycle import FAULTS, LONG, a_person, fault, full_queue, identity, record

WHERE = "import socket; print(socket.gethostname())"


def launch(person, **variables):
    """Launch with an open tunnel; the session's result."""
    return person.run("launch", jupyter_tunnel="open", **variables).succeeded().of("session")


def note(run):
    """The line of a launch that says what was unusual."""
    return next(line for line in run.message.splitlines() if line.startswith("Note: "))


def first_lines(message):
    """A message without the lines of a log that it quotes."""
    return message.split("\nThe last lines of")[0].split("\nIts log is")[0].strip()


def ends_as(person, *states, patience=LONG):
    """Wait until the session is over in one of these ways; the view."""
    def over():
        view = person.look()
        return view if view["state"] in states else None
    return until(over, f"the session {states}", patience)


@pytest.mark.parametrize("what, verb, mend", [("Node loses its power", "off", "on"), ("Node is unplugged", "unplug", "plug")])
def test_a_lost_node(person, cluster, what, verb, mend):
    first = launch(person)
    node = first["node"]
    with fault(cluster, node, verb, mend):
        view = ends_as(person, "failed")
        seen = person.run("connect").failed().message
        assert "lost the node" in seen
        left = person.left().replace(", a tunnel", ", a dead tunnel")
        again = launch(person)
        assert again["job"] != first["job"] and again["node"] != node
        assert again["tunnel"]["url"] == first["tunnel"]["url"]
        assert Jupyter(again["tunnel"]["url"], PASSWORD).run(WHERE).strip() == again["node"]
    assert view["cause"] == "node_lost"
    # What ran on a node that was only cut off is gone once it is back, but for the far end of the relay's ssh, an idle `cat`, which the
    # node's sshd keeps until its TCP keepalive; sites that let ssh in for a job's length end it with the job.
    until(lambda: set(cluster.processes("carol", node)) <= {"cat"}, f"{node} without a process of hers", LONG)
    cluster.shell("pkill -u carol -x cat", "root", node, check=False)
    record(what, first_lines(seen), left, "launch starts a new job on another node, at the same local address")


def test_a_job_cancelled_by_hand(person, cluster):
    first = launch(person)
    cluster.shell(f"scancel {first['job']}")
    until(lambda: not cluster.jobs(), "the end of the job")
    seen = person.run("connect").failed().message
    assert "not running" in seen
    table = person.run("status").succeeded().of("session_info")["table"]
    assert "cancelled" in table[1]
    left = person.left().replace(", a tunnel", ", a dead tunnel")
    again = launch(person)
    assert again["job"] != first["job"] and again["tunnel"]["url"] == first["tunnel"]["url"]
    record("Job cancelled by hand", seen, left, "launch starts a new job, at the same local address")


@pytest.mark.parametrize("what, pattern", [("Server killed on its node", "[-]-serve"), ("Keeper killed on its node", "keeper[.]py.* --batch-dir")])
def test_a_killed_server(person, cluster, what, pattern):
    first = launch(person)
    cluster.shell(f"pkill -9 -u carol -f -- '{pattern}'", "root", first["node"])
    view = ends_as(person, "failed")
    seen = person.run("connect").failed().message
    assert view["log_tail"] and "The last lines of" in seen
    until(lambda: not cluster.processes("carol", first["node"]), "the node without a process of hers")
    left = person.left().replace(", a tunnel", ", a dead tunnel")
    assert launch(person)["job"] != first["job"]
    record(what, first_lines(seen), left, "launch starts a new job, at the same local address")


def test_a_server_that_hangs(person, cluster):
    first = launch(person)
    cluster.shell("pkill -STOP -u carol -f -- '[-]-serve'", "root", first["node"])
    try:
        seen = person.run("connect", jupyter_tunnel="open").failed().message
        assert "takes connections and gave no answer" in seen and "looking for another way" not in seen
        left = person.left()
    finally:
        cluster.shell("pkill -CONT -u carol -f -- '[-]-serve'", "root", first["node"])
    again = launch(person)
    assert again["job"] == first["job"] and again["tunnel"]["url"] == first["tunnel"]["url"]
    assert identity(again["tunnel"]["url"]) == first["id"]
    record("Server hangs", seen, left, "connect brings back the same local address once the server goes on; stop ends it")


def test_the_login_node_reboots_during_a_wait(person, cluster):
    with full_queue(cluster):
        waiting = person.background("launch")
        job = waiting.says(r"queued: job (\d+)").group(1)
        cluster.verb("login", "reboot")
        run = waiting.end()
        run.failed()
        assert "Run it again" in run.message
        assert cluster.jobs() == [job]
        left = person.left()
    again = launch(person)
    assert again["job"] == job and not again.get("log_tail")
    record("Login node reboots during the wait", run.message, left.replace("1 job", "the job, queued"), "launch goes on waiting for the same job")


def test_the_login_node_reboots_under_an_open_tunnel(person, cluster):
    first = launch(person)
    cluster.verb("login", "reboot")
    until(lambda: identity(first["tunnel"]["url"]) is None, "the end of the tunnel")
    again = person.run("connect", jupyter_tunnel="open").succeeded()
    result = again.of("session")
    assert result["tunnel"]["url"] == first["tunnel"]["url"] and result["job"] == first["job"]
    assert identity(result["tunnel"]["url"]) == first["id"]
    record("Login node reboots under an open tunnel", "The browser says that the connection is lost; kernels run on.", person.left(),
           "connect brings back the same local address")


def test_the_scheduler_is_down_at_submit(person, cluster):
    with fault(cluster, "scheduler", "stop", "start"):
        run = person.run("launch").failed()
    assert "Nothing was submitted" in run.message
    left = person.left()
    assert not cluster.jobs()
    launch(person)
    assert len(cluster.jobs()) == 1
    record("Scheduler down at submit", run.message, left, "launch submits once the scheduler is back")


def test_the_scheduler_goes_down_during_a_wait(person, cluster):
    with full_queue(cluster):
        waiting = person.background("launch", jupyter_tunnel="open")
        job = waiting.says(r"queued: job (\d+)").group(1)
        with fault(cluster, "scheduler", "stop", "start"):
            seen = waiting.says(r"\] (the scheduler can't be asked[^\n]*)", LONG).group(1)
            left = "the job, queued, no tunnel"
    result = waiting.end().succeeded().of("session")
    assert result["job"] == job
    record("Scheduler goes down during the wait", seen, left, "the same launch goes on once the scheduler is back")


def test_the_scheduler_is_down_at_stop(person, cluster):
    first = launch(person)
    with fault(cluster, "scheduler", "stop", "start"):
        run = person.run("stop").failed()
    assert "could not be cancelled" in run.message
    left = person.left()
    assert not cluster.processes("carol", first["node"])
    person.run("stop").succeeded()
    until(lambda: not cluster.jobs(), "no job")
    assert not person.run("stop").succeeded().changed
    record("Scheduler down at stop", run.message, "the server is ended, " + left.split(", ")[1], "stop again ends what is left")


def test_a_scheduler_down_hides_no_running_server(person, cluster):
    first = launch(person)
    with fault(cluster, "scheduler", "stop", "start"):
        again = person.run("launch", jupyter_tunnel="open").succeeded().of("session")
        assert (again["job"], again["changed"]) == (first["job"], False)
    record("Scheduler down while the session runs", "Nothing: the session is used as before.", "the job and its tunnel", "launch and connect find it")


def test_a_home_that_gets_full(person, cluster):
    first = launch(person)
    with fault(cluster, "home", "full", "free"):
        browser = Jupyter(first["tunnel"]["url"], PASSWORD)
        assert browser.run("print(6 * 7)").strip() == "42"
        assert person.run("connect", jupyter_tunnel="open").succeeded().of("session")["tunnel"]["open"]
        refused = person.run("launch", jupyter_session="another").failed().message
        assert "Free some space" in refused
        assert "default" in "\n".join(person.run("status").succeeded().of("session_info")["table"])
        stop = person.run("stop").succeeded()
        assert stop.changed
        left = person.left()
        assert not cluster.jobs()
    until(lambda: not cluster.processes("carol", first["node"]), "the node without a process of hers")
    assert not person.run("stop").succeeded().changed
    launch(person)
    record("Home full while it runs", "Kernels compute on; what can't be saved, Jupyter says. A further launch: " + refused, left + " after stop",
           "stop works with a full home; launch works once there is room")


@contextlib.contextmanager
def laptop_offline(cluster):
    """The way from the laptop to the login node is gone; the cluster itself is whole."""
    route = ["ip", "route", "add", "blackhole", f"{cluster.net}.10/32"]
    subprocess.run(route, check=True)
    try:
        yield
    finally:
        subprocess.run([*route[:2], "del", *route[3:]], check=True)


@pytest.mark.long
def test_the_network_is_cut_and_comes_back(person, cluster):
    first = launch(person)
    tunnel = first["tunnel"]
    with laptop_offline(cluster):
        until(lambda: identity(tunnel["url"]) is None, "a dead connection")
        run = person.run("connect", jupyter_tunnel="open", ansible_ssh_timeout=5).failed()
    again = person.run("connect", jupyter_tunnel="open").succeeded().of("session")
    assert again["tunnel"]["url"] == tunnel["url"] and identity(tunnel["url"]) == first["id"]
    record("Laptop without network, and back", run.message, person.left(), "connect brings back the same local address")


@pytest.mark.long
def test_a_kept_tunnel_comes_back_by_itself(person, cluster):
    first = person.run("launch", jupyter_tunnel="keep").succeeded().of("session")
    with fault(cluster, "login", "unplug", "plug"):
        until(lambda: identity(first["tunnel"]["url"]) is None, "a dead connection", LONG)
    until(lambda: identity(first["tunnel"]["url"]) == first["id"], "the address answering again", LONG)
    state = next((person.home / ".local/state/hpc.jupyter/tunnels").glob("*.json"))
    before = json.loads(state.read_text())["pid"]
    cluster.verb("login", "reboot")
    until(lambda: json.loads(state.read_text())["pid"] != before, "another ssh", LONG)
    until(lambda: identity(first["tunnel"]["url"]) == first["id"], "the address answering again", LONG)
    person.run("stop").succeeded()
    keepers = list((person.home / ".local/state/hpc.jupyter/tunnels").glob("*.keeper"))
    until(lambda: not any(os.path.exists(f"/proc/{one.read_text().strip()}") for one in keepers), "the end of the tunnel's keeper")
    record("The same with jupyter_tunnel: keep", "The browser reconnects by itself.", "the job and its tunnel", "nothing has to be typed")


def faketime():
    """A library that shifts a process's clock, unpacked beside the system where that has none."""
    place = pathlib.Path("/opt/hpc-jupyter-cluster/faketime")
    for root in ("/", place):
        found = glob.glob(f"{root}/usr/lib/*/faketime/libfaketime.so.1")
        if found:
            return found[0]
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-q", "libfaketime"], cwd=place, check=True)
    subprocess.run(["dpkg", "-x", *glob.glob(f"{place}/*.deb"), str(place)], check=True)
    return glob.glob(f"{place}/usr/lib/*/faketime/libfaketime.so.1")[0]


@pytest.mark.parametrize("shift", ["-5h", "+5h"])
def test_the_clock_of_the_node_is_hours_off(person, cluster, shift):
    # Slurm's own daemons refuse such a node; other schedulers do not. So the clock is off for the job alone.
    lines = f"export LD_PRELOAD={faketime()} FAKETIME={shift} DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
    cluster.shell(f"sed -i '/^JUPYTER_SESSION=/a {lines}' ~/.jupyter/batch/jupyter.slurm")
    first = launch(person, jupyter_renewals=1)
    there = json.loads(cluster.shell("cat ~/.jupyter/batch/sessions/default/server.json"))
    assert abs(there["updated"] - int(cluster.shell("date +%s"))) > 4 * 3600
    assert 300 < first["time_left"] <= 600
    view = person.look()
    assert 300 < view["time_left"] <= 600 and 0 <= view["core_hours"] < 1 and view["successor"]
    assert not launch(person)["changed"]
    person.run("stop").succeeded()
    assert not cluster.jobs()
    record("Clock of the node hours off", "Nothing: the time left is right.", person.left() + " after stop", "all commands work")


def test_two_laptops_on_one_session(person, cluster, collections, tmp_path_factory):
    # A short name: ssh's control sockets are to fit in.
    other = a_person(tmp_path_factory.mktemp("b"), collections, cluster)
    one = launch(person)
    two = launch(other)
    assert (two["job"], two["id"]) == (one["job"], one["id"]) and two["tunnel"]["url"] != one["tunnel"]["url"]
    assert identity(one["tunnel"]["url"]) == identity(two["tunnel"]["url"]) == one["id"]
    assert other.run("stop").succeeded().changed
    seen = person.run("connect").failed().message
    assert "not running" in seen
    assert not person.run("stop").succeeded().of("session")["sessions"][0]["state"] == "stopped"
    record("Two laptops on one session", "Both have a tunnel of their own. After a stop by one, the other's connect says: " + seen, person.left(),
           "either launches again")


# -- the tunnel ---------------------------------------------------------------------------------


@pytest.mark.parametrize("what, number", [("Tunnel's ssh killed", signal.SIGKILL), ("Tunnel's ssh hangs", signal.SIGSTOP)])
def test_a_tunnel_that_is_no_use_any_more(person, cluster, what, number):
    first = launch(person)
    state = next((person.home / ".local/state/hpc.jupyter/tunnels").glob("*.json"))
    pid = json.loads(state.read_text())["pid"]
    os.kill(pid, number)
    run = person.run("connect", jupyter_tunnel="open").succeeded()
    again = run.of("session")
    assert again["changed"] and again["tunnel"]["url"] == first["tunnel"]["url"]
    assert identity(again["tunnel"]["url"]) == first["id"]
    until(lambda: not runs(pid), "the end of the old ssh")
    record(what, note(run), person.left(), "connect brings back the same local address")


def test_a_local_port_in_use_and_a_wrong_server_behind_it(person, cluster):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        run = person.run("launch", jupyter_tunnel="open", jupyter_local_port=port).succeeded()
    tunnel = run.of("session")["tunnel"]
    assert tunnel["port"] != port and f"local port {port} is in use" in run.message
    assert identity(tunnel["url"])
    assert not person.run("connect", jupyter_tunnel="open", jupyter_local_port=tunnel["port"]).succeeded().changed
    record("Local port in use by another program", note(run), person.left(), "connect keeps the new one")


def test_the_page_of_faults_names_them_all():
    names = {json.loads(path.read_text(encoding="utf-8"))["fault"] for path in FAULTS.glob("*.json")}
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    told = {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")}
    # Those that take minutes are run, and recorded, by `make test-long`.
    assert names and names <= told
