# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs submitted by hand beside those of launches: each takes what is its own and nobody else's place."""

import json
import os
import socket
import subprocess
import sys

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import by_hand, job_script, launching, processes, session, session_verbs, zip_application
from ansible_collections.hpc.jupyter.plugins.module_utils.places import Site
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.keeper.keeper_job import mark, sources, wait_for


def job_of(pid):
    """The id that the local scheduler would give to a process."""
    return "local-%s-%d-%s" % (socket.gethostname(), pid, processes.start_time(pid))


@pytest.fixture
def other_process():
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def site(job):
    """The job's batch directory as setup leaves it on a host without batch system."""
    (job.batch / "program.pyz").write_bytes(zip_application.program(sources()).pack())
    (job.batch / "site.json").write_text(json.dumps({
        "version": 1, "scheduler": "local", "commands": {}, "python": sys.executable, "resources": {}, "job": {"config_dir": str(job.home)}}))
    environment = job_script.Environment(python=sys.executable, variables={"PYTHONPATH": str(job.site), "FAKE": "good"})
    (job.batch / "jupyter.sh").write_text(job_script.render([], environment, str(job.batch), "bash"))
    (job.home / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": {"password": "sha1:x"}}))
    return Site(str(job.batch))


def test_by_hand_takes_no_job_file_of_an_earlier_launch(job, python):
    job.write("job.json", {"session": "s", "id": "f" * 32, "root_dir": "/nonexistent", "idle_timeout": 1})
    job.write("control.json", {"stop": True})
    assert job.start(python, job=None).await_phase("ready")["id"] != "f" * 32


def test_a_job_whose_launch_is_over_touches_nothing(job):
    job.write("job.json", {"session": "s", "id": "f" * 32})
    job.write("server.json", {"phase": "ready", "id": "f" * 32})
    assert job.start(job=None, launch=mark("e" * 32)).process.wait(30) == 1
    assert job.state() == {"phase": "ready", "id": "f" * 32} and "is over" in job.log()


def test_a_home_that_shows_the_job_file_late_is_waited_for(job, python):
    os.mkfifo(str(job.directory / "job.json"))
    job.start(python, job=None, launch=mark("f" * 32))
    with open(str(job.directory / "job.json"), "w") as first:  # opens when the keeper opens it
        job.write("new", {"session": "s", "id": "f" * 32}).rename(job.directory / "job.json")
        first.write('{"id": "of the launch before"}')
    assert job.await_phase("ready")["id"] == "f" * 32


def test_a_signal_ends_that_wait(job, python):
    os.mkfifo(str(job.directory / "job.json"))
    job.start(python, job=None, launch=mark("f" * 32))
    with open(str(job.directory / "job.json"), "w") as first:
        (job.directory / "job.json").unlink()
        first.write('{"id": "of the launch before"}')
    assert job.end() == 143 and job.state() == {}


def test_by_hand_a_second_server_of_a_session_is_refused(job, python):
    before = job.start(python, job=None).await_phase("ready")
    assert job.keeper(python).wait(30) == 1
    assert "has a server already (no job" in job.log()
    assert job.state() == before and job.process.poll() is None
    assert (job.directory / "config").exists(), "the other's settings are its own"


def test_by_hand_what_a_killed_keeper_of_this_node_left_is_no_server(job):
    job.start(job=None).await_phase("ready")
    job.process.kill()
    job.process.wait()
    wait_for(lambda: not os.path.exists("/proc/%d" % job.state()["pid"]), "the end of its server")
    first = job.state()["id"]
    job.start(job=None)
    wait_for(lambda: job.state()["id"] != first and job.state()["phase"] == "ready", "the next server")


def test_a_job_by_hand_is_found_by_status_and_ended_by_stop(job, site, python, other_process):
    mine = job_of(os.getpid())
    state = job.start(python, job=None, LOCAL_JOBID=mine).await_phase("ready")
    (view,) = session_verbs.info({"batch_dir": site.path})["sessions"]
    assert (view["session"], view["state"], view["job"], view["id"]) == ("s", "ready", mine, state["id"])
    assert view["endpoint"] == state["endpoint"]
    # A launch adopts it, and another job by hand is told of it.
    assert not session_verbs.launch({"batch_dir": site.path, "session": "s"})["changed"]
    assert job.keeper(python, LOCAL_JOBID=job_of(other_process.pid)).wait(60) == 1
    assert "has a job already, %s (ready on" % mine in job.log()
    assert session.Session(site, "s").record()["job"] == mine
    session_verbs.control({"batch_dir": site.path, "session": "s", "order": {"stop": True}})
    assert job.process.wait(30) == 0


def test_a_job_by_hand_takes_over_from_one_that_ended(job, site, other_process):
    found = session.Session(site, "s")
    launching.take_by_hand(found, job_of(other_process.pid))
    assert by_hand.occupied(found, "another")
    other_process.kill()
    other_process.wait()
    assert by_hand.occupied(found, "another") is None


def test_the_script_of_a_launch_takes_its_own_job_file(job, site, monkeypatch):
    monkeypatch.setenv("HOME", str(job.home))
    monkeypatch.setenv("TMPDIR", str(job.scratch))
    session_verbs.launch({"batch_dir": site.path, "session": "s", "resources": {"memory": "100M", "walltime": "10:00"}})
    try:
        state = job.await_phase("ready")
        assert state["id"] == json.loads((job.directory / "job.json").read_text())["id"]
        assert state["id"] not in (job.directory / "job.sh").read_text(), "a process list would show it"
        # The deployed script, for the session of its own name, has another session's place nowhere in it.
        by_hand_script = (job.batch / "jupyter.sh").read_text().replace("JUPYTER_SESSION=default", "JUPYTER_SESSION=s")
        done = subprocess.run(["bash", "-c", by_hand_script], env=job.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 1 and b"has a server already" in done.stdout
    finally:
        session_verbs.stop({"batch_dir": site.path, "session": "s"})
