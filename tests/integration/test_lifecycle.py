# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a session on a live cluster: locks, waiting, diagnosis, renewal, idleness, its end."""

from __future__ import annotations

import concurrent.futures
import json
import re
import signal
import time

import pytest
from harness import HERE, PASSWORD, typed, until
from kernel_client import Jupyter
from lifecycle import LONG, fault, full_queue, identity

SESSIONS = "/home/carol/.jupyter/batch/sessions"
WHERE = "import socket; print(socket.gethostname())"


def launch(person, **variables):
    """Launch with an open tunnel; the session's result."""
    return person.run("launch", jupyter_tunnel="open", **variables).succeeded().of("session")


# -- locks ---------------------------------------------------------------------------------------


def test_twenty_launches_from_two_hosts_are_one_job(person, cluster):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: person.ask(
            "launch", host=("login", "node1")[number % 2], session="default", hold=0), range(20)))
    assert not [answer["msg"] for answer in answers if answer.get("failed")]
    assert len({(answer["job"], answer["id"], answer["relay_dir"]) for answer in answers}) == 1
    assert sum(answer["changed"] for answer in answers) == 1
    assert cluster.jobs() == [answers[0]["job"]]


def test_launches_side_by_side_print_the_same_command(person, cluster):
    both = [person.background("launch"), person.background("launch")]
    one, two = (run.end().succeeded().of("session") for run in both)
    assert one["tunnel"]["command"] == two["tunnel"]["command"] and cluster.jobs() == [one["job"]]


@pytest.mark.parametrize("verb", ["launch", "stop"])
def test_killed_at_any_step_the_next_launch_recovers(person, cluster, verb):
    program = (HERE / "attacks" / "killed_halfway.py").read_text(encoding="utf-8")
    cluster.shell(f"cat > ~/.killed_halfway.py <<'EOF'\n{program}\nEOF")
    lines = cluster.shell(f"python3 ~/.killed_halfway.py ~/.jupyter/batch {verb}; rm ~/.killed_halfway.py").splitlines()
    outcomes = [json.loads(line) for line in lines]
    assert outcomes[-1]["done"] and len(outcomes) > 15
    for outcome in outcomes:
        # One job and its successor, if it has come to have one; all of them known, none after a stop.
        assert outcome["after"] == outcome["known"] and 1 <= len(outcome["after"]) <= 2, outcome
        assert outcome["state"] in ("queued", "held"), outcome
        assert not outcome["stopped"] and outcome["stop_msg"] is None, outcome
        assert outcome["files"] == ["record.json"], outcome


def test_a_lock_of_a_host_that_died_is_taken_over(person, cluster):
    # node1 lost its power in the middle of a launch: nothing of it can be seen from here, its lock was not touched for a minute.
    lock = '{"host": "node1", "pid": 1, "process": "1"}'
    cluster.shell(f"umask 077; mkdir -p {SESSIONS}/default; printf %s '{lock}' > {SESSIONS}/default/lock; touch -d '-1 min' {SESSIONS}/default/lock")
    result = person.run("launch").succeeded().of("session")
    assert cluster.jobs() == [result["job"]]


def test_a_lock_whose_job_nobody_can_be_asked_about_is_not(person, cluster):
    person.ask("launch", session="default", hold=0, resources={"options": ["--hold"]})
    job = cluster.jobs()
    record = json.loads(cluster.shell(f"cat {SESSIONS}/default/record.json"))
    # Killed after the submission and before the job was noted.
    cut = json.dumps(dict(record, job=None, submitting=True))
    cluster.shell(f"printf %s '{cut}' > {SESSIONS}/default/record.json")
    with fault(cluster, "scheduler", "stop", "start"):
        run = person.run("launch").failed()
        assert run.result["cause"] == "scheduler-unknown" and "Nothing was submitted" in run.message
    assert cluster.jobs() == job
    assert person.ask("launch", session="default", hold=0)["job"] == job[0] and cluster.jobs() == job


# -- waiting -------------------------------------------------------------------------------------


def test_a_wait_shows_its_reason_live_and_its_end_is_notified(person, cluster):
    programs = person.home / "bin"
    programs.mkdir()
    (programs / "notify-send").write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {person.home}/notified\n", encoding="utf-8")
    (programs / "notify-send").chmod(0o755)
    person.environment["PATH"] = f"{programs}:/usr/bin:/bin"
    with full_queue(cluster):
        waiting = person.background("launch", jupyter_tunnel="open", jupyter_mail="carol@login")
        job = waiting.says(r"queued: job (\d+), \S+").group(1)
        # Its scheduler is told to write to her.
        shown = cluster.shell(f"scontrol show job {job}")
        assert "MailUser=carol@login" in shown and re.search(r"MailType=\S*BEGIN\S*END", shown)
        # What holds it changes and is shown, until she has waited long enough to be told on her desktop.
        while not re.search(r"\(after (1[1-9]|[2-9]\d) s\)", waiting.text):
            known = len(waiting.text)
            held = "held:" in waiting.text.strip().splitlines()[-1]
            cluster.shell(f"scontrol {'release' if held else 'hold'} {job}")
            until(lambda before=known: len(waiting.text) > before or waiting.process.poll() is not None, "news in the wait", LONG)
            assert waiting.process.poll() is None, waiting.text
        cluster.shell(f"scontrol release {job}", check=False)
        until(lambda: cluster.shell(f"squeue -h -j {job} -o %r").strip() not in ("", "None"), "Slurm's own reason")
        status = person.run("status").succeeded().of("session_info")
        view = status["sessions"][0]
        assert (view["job"], view["node"], view["core_hours"]) == (job, None, None) and view["state"] in ("queued", "held")
        assert view["reason"] and view["reason"] in status["table"][1]
        assert view["predicted_start"] is None or view["predicted_start"] > time.time() - 60
    run = waiting.end().succeeded()
    assert run.text.count("held: job") >= 1 and "ready: job" in run.text
    assert run.of("session")["tunnel"]["url"] in (person.home / "notified").read_text()


def test_a_prediction_is_shown_where_the_scheduler_has_one(person, cluster):
    cluster.shell("scontrol update jobid=$(sbatch --parsable -N2 --exclusive -t 1 -o /dev/null --wrap 'sleep 50') timelimit=2", check=False)
    until(cluster.jobs, "somebody's job")
    answer = person.ask("launch", session="default", hold=0)

    def predicted():
        found = person.look()
        return found if found["predicted_start"] else None

    view = until(predicted, "a prediction", LONG)
    assert view["job"] == answer["job"]
    assert "starts " in person.run("status").succeeded().of("session_info")["table"][1]


def test_the_limit_of_a_wait_leaves_the_job_queued_and_says_how_to_go_on(person, cluster):
    with full_queue(cluster):
        run = person.run("launch", jupyter_wait_timeout=2).succeeded()
        job = run.of("session")["job"]
        assert cluster.jobs() == [job] and run.of("session")["state"] == "queued"
        assert "hpc.jupyter.launch' goes on waiting" in run.message and "hpc.jupyter.stop' gives it up" in run.message
        assert person.run("stop").succeeded().changed
        assert not cluster.jobs()


# -- diagnosis -----------------------------------------------------------------------------------


BROKEN = "mkdir -p ~/broken/tornado; echo 'raise ImportError(\"libfoo.so.1: cannot open shared object file\")' > ~/broken/tornado/__init__.py; "


@pytest.mark.parametrize("cause, before, settings, says", [
    ("module-missing", "sed -i 's/jupyterlab/jupyterlab-of-last-year/' ~/.jupyter/batch/jupyter.slurm", {}, "jupyterlab-of-last-year"),
    ("bad-option", "true", {"ServerApp": {"max_body_size": "plenty"}}, "max_body_size"),
    ("import-error", BROKEN + "sed -i '/^JUPYTER_SESSION=/a export PYTHONPATH=$HOME/broken' ~/.jupyter/batch/jupyter.slurm", {}, "libfoo.so.1"),
    ("jupyter-missing", "sed -i 's/^module load.*/JUPYTER_PYTHON=python3/; s/module load.*jupyterlab.*/:/' ~/.jupyter/batch/jupyter.slurm", {}, "Jupyter"),
], ids=lambda value: value if isinstance(value, str) and re.fullmatch(r"[a-z-]+", value) else "")
def test_a_server_that_dies_at_start_is_explained_within_seconds(person, cluster, cause, before, settings, says):
    cluster.shell(before)
    run = person.run("launch", jupyter_session_settings=settings, jupyter_renewals=1).failed()
    assert run.result["cause"] == cause, run.message
    assert says in run.message and run.result["log"] in run.message
    # From the job's start to the message, on a machine that does other things as well.
    assert time.time() - run.result["started"] < 30
    assert not run.result["successor"]
    until(lambda: not cluster.jobs(), "no job, no successor", LONG)
    # A successor would have failed the same way, and was never let run.
    assert run.result["jobs"] == [run.result["job"]]


# -- renewal -------------------------------------------------------------------------------------


def test_a_renewed_session_keeps_its_name_password_and_address(person, cluster):
    first = launch(person, jupyter_renewals=2)
    url = first["tunnel"]["url"]
    assert first["successor"] and sorted(cluster.jobs()) == sorted([first["job"], first["successor"]])
    assert f"goes on in job {first['successor']}" in person.run("status").succeeded().of("session_info")["table"][1]
    browser = Jupyter(url, PASSWORD)
    # As a walltime does: an end that nobody of ours wanted.
    cluster.shell(f"scancel {first['job']}")
    until(lambda: person.look()["job"] == first["successor"], "the successor", LONG)
    until(lambda: identity(url) == first["id"], "the same address leading to it", LONG)
    # The browser's login is good there too: nobody types anything.
    assert browser.run(WHERE).strip() in ("node1", "node2")

    def renewed():
        found = person.look()
        return found if found["state"] == "ready" and found["successor"] else None

    view = until(renewed, "a next successor", LONG)
    assert view["jobs"] == [first["job"], first["successor"]] and view["renewals_left"] == 1
    again = launch(person)
    assert not again["changed"] and again["tunnel"]["url"] == url and again["core_hours"] >= view["core_hours"]
    # The server dies: the session goes on for the last time, and with it the end of its renewals.
    cluster.shell("pkill -9 -u carol -f -- '[-]-serve'", "root", view["node"])
    until(lambda: identity(url) is None or person.look()["job"] != view["job"], "the end of the server", LONG)
    connected = person.run("connect", jupyter_tunnel="open").succeeded().of("session")
    assert connected["job"] == view["successor"] and not connected["successor"] and connected["tunnel"]["url"] == url
    assert person.run("stop").succeeded().changed
    assert not cluster.jobs()


def test_stop_leaves_no_successor(person, cluster):
    launch(person, jupyter_renewals=1)
    person.run("stop").succeeded()
    assert not cluster.jobs()
    assert cluster.shell(f"ls -A {SESSIONS}/default").split() == ["cookie_secret", "cookie_stamp", "job.out", "record.json", "server.log"]


def test_a_stop_in_the_middle_of_a_renewal_ends_the_successor_too(person, cluster):
    with full_queue(cluster):
        first = person.ask("launch", session="default", hold=0, renewals=1)
        # The first ends while the second, which the full queue keeps from starting, is free to.
        cluster.shell(f"scontrol update jobid={first['successor']} dependency=; scancel {first['job']}")
        answer = person.ask("stop", session="default")
        assert answer["changed"] and answer["sessions"][0]["job"] == first["successor"]
        assert not cluster.jobs()


def test_shut_down_in_the_browser_leaves_no_successor(person, cluster):
    first = launch(person, jupyter_renewals=1)
    Jupyter(first["tunnel"]["url"], PASSWORD).api("POST", "api/shutdown", {})
    until(lambda: not cluster.jobs(), "no job", LONG)
    assert person.look()["state"] == "finished"


def test_an_idle_session_ends_and_a_computing_kernel_never(person, cluster):
    first = launch(person, jupyter_renewals=1, jupyter_idle_timeout=20)
    browser = Jupyter(first["tunnel"]["url"], PASSWORD)
    began = time.monotonic()
    assert browser.run("import time\nuntil = time.time() + 30\nwhile time.time() < until: time.sleep(0.5)\nprint('done')", keep=True).strip() == "done"
    assert time.monotonic() - began >= 30
    # The kernel is still there and has nothing to do: session, job and successor end.
    until(lambda: not cluster.jobs(), "no job", LONG)
    view = person.look()
    assert view["state"] == "finished" and "jupyter_idle_timeout" in view["reason"]
    assert "jupyter_idle_timeout" in person.run("connect").failed().message


@pytest.mark.long
def test_the_walltime_itself_renews_a_session_after_a_warning(person, cluster):
    first = launch(person, jupyter_renewals=1, jupyter_walltime="00:01:00", jupyter_queue="short")
    url = first["tunnel"]["url"]
    warned = until(lambda: person.look()["warning"], "a warning before the end", LONG)
    assert "ends at" in warned["message"] and "a new job then takes over" in warned["message"]
    assert cluster.shell("ls ~ | grep JUPYTER-ENDS-AT").strip()
    until(lambda: person.look()["job"] == first["successor"], "the successor", LONG)
    until(lambda: identity(url) == first["id"], "the same address leading to it", LONG)
    assert not cluster.shell("ls ~ | grep JUPYTER-ENDS-AT", check=False).strip()
    # It has no successor: after its walltime the session is over.
    until(lambda: person.look()["state"] == "finished", "its end", LONG)
    assert "walltime" in person.look()["reason"] or "time was up" in person.look()["reason"]


# -- status, another version ---------------------------------------------------------------------


def test_status_is_a_table_for_people_and_data_for_programs(person, cluster):
    one = launch(person, jupyter_session="one")
    person.ask("launch", session="two", hold=0, resources={"options": ["--hold"]})
    run = person.run("status").succeeded()
    info = run.of("session_info")
    assert all(line in run.text for line in info["table"])
    head, first, second = info["table"]
    assert head.split() == ["SESSION", "STATE", "JOB", "NODE", "LEFT", "CORE-HOURS", "TUNNEL", "NOTE"]
    assert first.split()[:4] == ["one", "ready", one["job"], one["node"]] and one["tunnel"]["url"] in first
    assert second.split()[0] == "two" and "-" in second.split()
    data = info["sessions"][0]
    assert 0 < data["time_left"] <= 600 and 0 <= data["core_hours"] < 1 and data["tunnel"]["up"]
    assert not info["sessions"][1]["tunnel"]["up"] and info["sessions"][1]["core_hours"] is None


def test_a_launch_says_when_setup_is_of_another_version(person, cluster):
    assert "another version" not in person.run("launch", jupyter_wait_timeout=1).succeeded().text
    cluster.shell("sed -i 's/\"program\": \"[0-9a-f]*\"/\"program\": \"0123\"/' ~/.jupyter/batch/site.json")
    assert "hpc.jupyter.setup' again" in " ".join(person.run("launch", jupyter_wait_timeout=1).succeeded().text.split())
    assert person.run("setup").succeeded().changed
    assert "another version" not in " ".join(person.run("launch", jupyter_wait_timeout=1).succeeded().text.split())


def test_ctrl_c_leaves_the_job_and_says_so(person, cluster):
    with full_queue(cluster):
        waiting = person.background("launch")
        job = waiting.says(r"queued: job (\d+)").group(1)
        waiting.says(f"Ctrl-C leaves job {job} in the queue")
        waiting.process.send_signal(signal.SIGINT)
        waiting.process.wait(LONG)
        assert cluster.jobs() == [job]


# -- what a newcomer is told ---------------------------------------------------------------------


def test_of_what_never_ran_nothing_stays_and_what_to_type_names_it(person, cluster):
    assert "refused the job" in person.run("launch", jupyter_session="big", jupyter_queue="typo").failed().message
    assert cluster.shell("ls ~/.jupyter/batch/sessions") == ""
    assert person.run("status").succeeded().of("session_info")["sessions"] == []
    assert "'ansible-playbook hpc.jupyter.launch -e jupyter_session=big'" in person.run("connect", jupyter_session="big").failed().message
    assert "Session 'big' was not running." in person.run("stop", jupyter_session="big").succeeded().text


def test_a_session_that_is_there_is_told_as_it_is_and_reached_from_a_second_laptop(person, cluster):
    # What other tests left in site.json is none of what this one compares.
    person.run("setup").succeeded()
    first = launch(person, jupyter_cores=2)
    again = person.run("launch", jupyter_cores=1, jupyter_tunnel="emit").succeeded()
    assert "has cores 2 (asked for: 1)" in again.message and "open on this laptop already" in again.message
    # What is recorded in the connect tool is what it prints; the port is that of setup, free here as on a second laptop.
    said = cluster.shell("~/.jupyter_connect </dev/null; head -n 9 ~/.jupyter_connect")
    command = next(line.strip() for line in said.splitlines() if line.startswith("    ssh "))
    assert f"#     {command}\n" in said
    (url,) = re.findall(r"open (http://\S+) there", said)
    with typed({"command": command, "url": url}, person.home / "second.log"):
        assert identity(url) == identity(first["tunnel"]["url"]) == first["id"]
    assert identity(first["tunnel"]["url"]) == first["id"]
    person.run("stop").succeeded()
    (view,) = person.run("status").succeeded().of("session_info")["sessions"]
    assert (view["state"], view["job"]) == ("stopped", first["job"]) and abs(view["ended"] - time.time()) < 60
