# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The local scheduler, with real processes."""

import json
import os
import select
import signal
import stat
import subprocess
import sys
import textwrap
import time

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import commands, processes
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base, local

PATIENCE = 60


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "GRACE", 1)
    monkeypatch.setattr(local, "_FOLLOW_INTERVAL", 0.05)
    here = Site(tmp_path)
    yield here
    here.clean()


class Site:
    def __init__(self, path):
        self.path = path
        self.scheduler = local.Local(commands.run, directory=str(path / "jobs"))
        self.ids = []

    def submit(self, body, name="jupyter-default", after=None, interpreter="/bin/sh", **resources):
        script = self.path / ("script-%d" % len(self.ids))
        script.write_text("#!%s\n%s\n" % (interpreter, textwrap.dedent(body)))
        job_id = self.scheduler.submit(base.Submission(
            name, str(script), str(self.path / "out"), base.Resources(**resources), after_failure_of=after))
        self.ids.append(job_id)
        return job_id

    def look(self, job_id):
        return self.scheduler.look([job_id])[job_id]

    def wait(self, job_id, *states):
        return until(lambda: self.look(job_id), lambda job: job.state in states)

    def file(self, name):
        return until(lambda: (self.path / name).read_text() if (self.path / name).exists() else "", lambda text: text.endswith("\n"))

    def state(self, job_id):
        return json.loads((self.path / "jobs" / (job_id + ".json")).read_text())

    def clean(self):
        for job_id in self.ids:
            path = self.path / "jobs" / (job_id + ".json")
            if path.exists() and not self.look(job_id).over:
                self.scheduler.cancel(job_id)
                self.wait(job_id, base.FINISHED)


def until(look, enough):
    deadline = time.time() + PATIENCE
    while True:
        seen = look()
        if enough(seen):
            return seen
        assert time.time() < deadline, seen
        time.sleep(0.01)


def runs(pid):
    status = processes.stat(pid)
    return status is not None and status[0] not in "ZX"


def test_a_job_from_its_start_to_its_end(site):
    job_id = site.submit("echo $$ > %s/pid; while [ ! -e %s/go ]; do sleep 0.05; done; echo done; exit 3" % (site.path, site.path), cores=2)
    site.file("pid")
    job = site.wait(job_id, base.RUNNING)
    assert (job.nodes, job.cores_total, job.name, job.ends, job.exit_kind) == ([local._host()], 2, "jupyter-default", None, None)
    assert [other.id for other in site.scheduler.mine()] == [job_id]
    (site.path / "go").write_text("")
    job = site.wait(job_id, base.FINISHED)
    assert (job.exit_kind, job.exit_code) == (base.FAILED, 3)
    assert job.submitted <= job.started <= job.ends
    assert site.scheduler.mine() == []
    assert site.scheduler.cancel(job_id) == "over"
    assert (site.path / "out").read_text() == "done\n"


def test_what_a_job_finds_in_its_environment(site, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/0")
    monkeypatch.setenv("SSH_CONNECTION", "x")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    job_id = site.submit("env > %s/env; cat $LOCAL_NODEFILE; ls -ld $TMPDIR; pwd; umask; wc -c; ps -o pid=,pgid=,sid= $$" % site.path, cores=3)
    assert site.wait(job_id, base.FINISHED).exit_kind == base.CLEAN
    env = dict(line.split("=", 1) for line in (site.path / "env").read_text().splitlines() if "=" in line)
    assert env["LOCAL_JOBID"] == job_id
    assert env["LC_ALL"] == "C.UTF-8" and "XDG_RUNTIME_DIR" not in env and "SSH_CONNECTION" not in env
    lines = (site.path / "out").read_text().splitlines()
    assert lines[:3] == [local._host()] * 3
    assert lines[3].startswith("drwx------") and lines[4] == os.path.realpath(os.path.expanduser("~")) and lines[5].endswith("077")
    assert lines[6].strip() == "0"
    assert len(set(lines[7].split())) == 1, "a session of its own"
    # Nothing of it is left.
    until(lambda: os.path.exists(env["TMPDIR"]), lambda there: not there)


def test_its_files_are_private(site):
    job_id = site.submit("echo x")
    site.wait(job_id, base.FINISHED)
    assert stat.S_IMODE(os.stat(str(site.path / "jobs")).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(str(site.path / "out")).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(str(site.path / "jobs" / (job_id + ".json"))).st_mode) == 0o600


def test_the_scripts_own_interpreter_and_no_execute_bit(site):
    job_id = site.submit("import sys; print(sys.version_info[0]); sys.exit(4)", interpreter=sys.executable)
    assert site.wait(job_id, base.FINISHED).exit_code == 4
    assert (site.path / "out").read_text() == "3\n"


def test_an_interpreter_that_is_not_there(site):
    job_id = site.submit("x", interpreter="/nonexistent/sh")
    job = site.wait(job_id, base.FINISHED)
    assert (job.exit_kind, job.exit_code) == (base.FAILED, 127) and "/nonexistent/sh" in job.reason
    assert "/nonexistent/sh" in (site.path / "out").read_text()


def test_a_signal_ends_it(site):
    job = site.wait(site.submit("kill -9 $$"), base.FINISHED)
    assert (job.exit_kind, job.exit_code) == (base.FAILED, 137)


def test_two_do_not_collide(site):
    ids = [site.submit("exit %d" % number) for number in range(4)]
    assert len(set(ids)) == 4
    assert [site.wait(job_id, base.FINISHED).exit_code for job_id in ids] == [0, 1, 2, 3]


def test_its_walltime_ends_it_politely(site):
    job_id = site.submit("trap 'echo ending; exit 5' TERM; while :; do sleep 0.05; done", walltime=1)
    job = site.wait(job_id, base.FINISHED)
    assert (job.exit_kind, job.exit_code, job.walltime) == (base.TIME_LIMIT, 5, 1)
    assert "ending" in (site.path / "out").read_text()


def test_its_walltime_ends_it_in_any_case(site):
    job_id = site.submit("trap '' TERM; echo $$ > %s/pid; while :; do sleep 0.05; done" % site.path, walltime=1)
    job = site.wait(job_id, base.RUNNING, base.ENDING)
    assert job.ends == pytest.approx(job.started + 1, abs=1)
    job = site.wait(job_id, base.FINISHED)
    assert (job.exit_kind, job.exit_code) == (base.TIME_LIMIT, 137)
    assert not runs(int(site.file("pid")))


def test_cancel_ends_all_of_it(site):
    # A grandchild with a session of its own, as kernels have.
    job_id = site.submit("%s -c 'import os, time; os.fork() or (os.setsid(), open(\"%s/kernel\", \"w\").write(\"%%d\\n\" %% os.getpid()), "
                         "time.sleep(600)); time.sleep(600)' & echo $$ > %s/pid; wait" % (sys.executable, site.path, site.path))
    pids = [int(site.file(name)) for name in ("kernel", "pid")]
    assert site.scheduler.cancel(job_id) == "cancelled"
    job = site.wait(job_id, base.FINISHED)
    assert job.exit_kind == base.CANCELLED
    assert not any(runs(pid) for pid in pids)


def test_orphans_of_a_job_do_not_stay_zombies(site):
    job_id = site.submit("(sleep 0 & echo $! > %s/pid) & wait; while [ ! -e %s/go ]; do sleep 0.05; done" % (site.path, site.path))
    pid = int(site.file("pid"))
    until(lambda: processes.stat(pid), lambda status: status is None)
    (site.path / "go").write_text("")
    assert site.wait(job_id, base.FINISHED).exit_kind == base.CLEAN


@pytest.mark.parametrize("ending, kind, follows", [
    ("exit 0", base.CLEAN, False), ("exit 1", base.FAILED, True), ("sleep 600", base.TIME_LIMIT, True), ("cancel", base.CANCELLED, True)])
def test_the_successor_of_a_failure(site, ending, kind, follows):
    walltime = 1 if kind == base.TIME_LIMIT else None
    first = site.submit("while [ ! -e %s/go ]; do sleep 0.05; done; %s" % (site.path, "sleep 600" if ending == "cancel" else ending), walltime=walltime)
    second = site.submit("echo second > %s/second" % site.path, after=first)
    site.wait(first, base.RUNNING)
    job = site.look(second)
    assert job.state == base.HELD and first in job.reason
    (site.path / "go").write_text("")
    if ending == "cancel":
        site.scheduler.cancel(first)
    assert site.wait(first, base.FINISHED).exit_kind == kind
    job = site.wait(second, base.FINISHED)
    assert job.exit_kind == (base.CLEAN if follows else base.CANCELLED)
    assert (site.path / "second").exists() == follows


def test_a_successor_outlives_the_job_that_submitted_it(site):
    """A job's end ends what it left behind, but not the successor that it submitted itself."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(local.__file__))))
    (site.path / "renew.py").write_text(textwrap.dedent("""
        import os, sys, types
        for name, path in (("c", %r), ("c.module_utils", %r)):
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [path]
        from c.module_utils import commands
        from c.module_utils.schedulers import base, local
        local._FOLLOW_INTERVAL = 0.05
        print(local.Local(commands.run, directory=%r).submit(base.Submission(
            "jupyter-default", %r, %r, base.Resources(), after_failure_of=os.environ["LOCAL_JOBID"])), flush=True)
        """ % (root, os.path.join(root, "module_utils"), str(site.path / "jobs"), str(site.path / "second.sh"), str(site.path / "out2"))))
    (site.path / "second.sh").write_text("#!/bin/sh\necho it ran\n")
    first = site.submit("%s %s > %s/successor; exit 1" % (sys.executable, site.path / "renew.py", site.path))
    assert site.wait(first, base.FINISHED).exit_kind == base.FAILED
    second = site.file("successor").strip()
    job = site.wait(second, base.FINISHED)
    assert job.exit_kind == base.CLEAN, job.reason
    assert (site.path / "out2").read_text() == "it ran\n"


def test_a_successor_that_waits_is_cancelled(site):
    first = site.submit("sleep 600")
    second = site.submit("echo no", after=first)
    assert site.scheduler.cancel(second) == "cancelled"
    job = site.wait(second, base.FINISHED)
    assert (job.exit_kind, job.started, job.nodes) == (base.CANCELLED, None, [])
    assert site.look(first).state == base.RUNNING


def test_it_survives_the_login(site):
    """The process that submits ends, its pipes are closed, its terminal hangs up: the job goes on."""
    code = textwrap.dedent("""
        import sys, types
        for name, path in (("c", sys.argv[1]), ("c.module_utils", sys.argv[1] + "/module_utils")):
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [path]
        from c.module_utils import commands
        from c.module_utils.schedulers import base, local
        print(local.Local(commands.run, directory=sys.argv[2]).submit(base.Submission("n", sys.argv[3], sys.argv[4], base.Resources())))
        """)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(local.__file__))))
    (site.path / "job.sh").write_text("#!/bin/sh\nwhile [ ! -e %s/go ]; do sleep 0.05; done\n" % site.path)
    # One more pipe of the login's, such as a connection: it must see its end.
    watch, held = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code, root, str(site.path / "jobs"), str(site.path / "job.sh"), str(site.path / "out")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, pass_fds=[held])
    os.close(held)
    # Would wait for ever, as ssh does, if the job held the pipes.
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    job_id = out.decode().strip()
    site.ids.append(job_id)
    assert select.select([watch], [], [], PATIENCE)[0] and os.read(watch, 1) == b""
    os.close(watch)
    try:
        os.killpg(process.pid, signal.SIGHUP)
    except OSError:
        pass
    assert site.wait(job_id, base.RUNNING, base.FINISHED).state == base.RUNNING
    supervisor = site.state(job_id)["pid"]
    os.kill(supervisor, signal.SIGHUP)
    links = [os.readlink("/proc/%d/fd/%s" % (supervisor, fd)) for fd in os.listdir("/proc/%d/fd" % supervisor)]
    assert not [link for link in links if link.startswith(("/dev/pts", "/dev/tty"))]
    (site.path / "go").write_text("")
    assert site.wait(job_id, base.FINISHED).exit_kind == base.CLEAN


def test_from_another_host_it_is_unknown_and_not_over(site, monkeypatch):
    job_id = site.submit("while [ ! -e %s/go ]; do sleep 0.05; done" % site.path)
    site.wait(job_id, base.RUNNING)
    with monkeypatch.context() as patch:
        patch.setattr(local, "_host", lambda: "login2")
        job = site.look(job_id)
        assert job.state == base.UNKNOWN and "ask there" in job.reason
        with pytest.raises(base.Unreachable):
            site.scheduler.cancel(job_id)
        assert site.look("local-login3-17-5").state == base.UNKNOWN
    (site.path / "go").write_text("")
    site.wait(job_id, base.FINISHED)
    monkeypatch.setattr(local, "_host", lambda: "login2")
    assert site.look(job_id).exit_kind == base.CLEAN, "what its file says of its end is known everywhere"


def test_a_reused_pid_is_not_the_job(site):
    job_id = site.submit("sleep 600")
    site.wait(job_id, base.RUNNING)
    state = site.state(job_id)
    forged = dict(state, id="local-%s-%d-%d" % (local._host(), os.getpid(), 1), pid=os.getpid(), start=1, job_pid=os.getpid(), job_start=1)
    (site.path / "jobs" / (forged["id"] + ".json")).write_text(json.dumps(forged))
    job = site.look(forged["id"])
    assert (job.state, job.exit_kind) == (base.FINISHED, base.EXIT_UNKNOWN)
    assert site.scheduler.cancel(forged["id"]) == "over"


def test_a_reboot_is_a_lost_node(site, monkeypatch):
    job_id = site.submit("sleep 600")
    site.wait(job_id, base.RUNNING)
    with monkeypatch.context() as patch:
        patch.setattr(local, "_boot", lambda: "another")
        job = site.look(job_id)
        assert (job.state, job.exit_kind) == (base.FINISHED, base.NODE_LOST)


def test_a_supervisor_that_was_killed(site):
    job_id = site.submit("echo $$ > %s/pid; sleep 600" % site.path)
    pid = int(site.file("pid"))
    site.wait(job_id, base.RUNNING)
    os.kill(site.state(job_id)["pid"], signal.SIGKILL)
    job = until(lambda: site.look(job_id), lambda job: job.reason is not None)
    assert job.state == base.RUNNING and "supervisor was killed" in job.reason
    assert site.scheduler.cancel(job_id) == "cancelled"
    until(lambda: runs(pid), lambda alive: not alive)
    assert site.wait(job_id, base.FINISHED).exit_kind == base.CANCELLED


def test_a_supervisor_and_its_job_that_were_killed(site):
    job_id = site.submit("echo $$ > %s/pid; sleep 600" % site.path)
    pid = int(site.file("pid"))
    site.wait(job_id, base.RUNNING)
    os.kill(site.state(job_id)["pid"], signal.SIGKILL)
    os.killpg(pid, signal.SIGKILL)
    job = site.wait(job_id, base.FINISHED)
    assert job.exit_kind == base.EXIT_UNKNOWN and "supervisor was killed" in job.reason


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"id": 1}'])
def test_a_damaged_state_file_of_a_job_that_runs_is_unknown(site, content):
    job_id = site.submit("sleep 600")
    site.wait(job_id, base.RUNNING)
    path = site.path / "jobs" / (job_id + ".json")
    good = path.read_text()
    path.write_text(content)
    try:
        assert site.look(job_id).state == base.UNKNOWN
    finally:
        path.write_text(good)


def test_every_key_of_a_state_file_is_checked(site):
    job_id = site.submit("exit 0")
    site.wait(job_id, base.FINISHED)
    good = site.state(job_id)
    for key in local._SHAPE:
        for value in ([], {}, "x\x1b", -1, True, None):
            (site.path / "jobs" / (job_id + ".json")).write_text(json.dumps(dict(good, **{key: value})))
            assert site.look(job_id).state in base.STATES
    (site.path / "jobs" / (job_id + ".json")).write_text(json.dumps(good))


@pytest.mark.parametrize("more, variable", [
    ({"queue": "q"}, "jupyter_queue"), ({"account": "a"}, "jupyter_account"), ({"options": ["-x"]}, "jupyter_batch_options"), ({"nodes": 2}, "jupyter_nodes")])
def test_what_it_cannot_do_is_refused(site, more, variable):
    with pytest.raises(base.Refused) as caught:
        site.submit("exit 0", **more)
    assert variable in caught.value.advice and not (site.path / "jobs").exists()


def test_a_refusal_leaves_nothing_behind(site):
    with pytest.raises(base.Refused, match="no script"):
        site.scheduler.submit(base.Submission("n", str(site.path / "none"), str(site.path / "out"), base.Resources()))
    script = site.path / "s"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(base.Refused, match="could not be started.*nonexistent"):
        site.scheduler.submit(base.Submission("n", str(script), "/nonexistent/out", base.Resources()))
    for parent in ("local-%s-999999-1" % local._host(), "12", "local-other-1-1"):
        with pytest.raises(base.Refused, match="cannot follow"):
            site.submit("exit 0", after=parent)
    assert not (site.path / "jobs").exists() or os.listdir(str(site.path / "jobs")) == []


@pytest.mark.parametrize("job_id", ["", "12", "local-", "../../etc/passwd", "local-a/../b-1-2", "local-x-1-2\n"])
def test_what_is_no_id_is_never_a_path(site, job_id):
    assert site.look(job_id).over
    assert site.scheduler.cancel(job_id) == "unknown"


def test_old_ends_are_forgotten_at_last(site):
    old = site.submit("exit 0")
    site.wait(old, base.FINISHED)
    path = str(site.path / "jobs" / (old + ".json"))
    os.utime(path, (1, 1))
    site.wait(site.submit("exit 0"), base.FINISHED)
    assert not os.path.exists(path)
    assert (site.look(old).state, site.look(old).exit_kind) == (base.FINISHED, base.EXIT_UNKNOWN)


def test_a_rehearsal_refuses_what_a_submission_would():
    scheduler = local.Local(None, directory="/nowhere")
    assert scheduler.rehearse(base.Submission("n", "/s", "/o", base.Resources(cores=2)), "") == ""
    with pytest.raises(base.Refused, match="no queue"):
        scheduler.rehearse(base.Submission("n", "/s", "/o", base.Resources(queue="typo")), "")
