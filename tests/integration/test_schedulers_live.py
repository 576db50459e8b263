# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schedulers on a live Slurm, natively and by its PBS commands, as an ordinary user on the login node."""

from __future__ import annotations

import pathlib
import secrets
import shlex

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import commands, schedulers
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base
from harness import until

PATIENCE = 120.0  # seconds


class Login:
    """The login node, by one ssh connection for each user."""

    def __init__(self, config, directory):
        self.config = config
        self.control = str(directory / "control")
        self.home = "/home/carol"
        self.place = f"{self.home}/live-{secrets.token_hex(4)}"

    def run(self, argv, stdin=None, timeout=60, env=None, user=""):
        words = [name + "=" + shlex.quote(value) for name, value in dict({"LC_ALL": "C"}, **(env or {})).items() if value is not None]
        return commands.run(
            ["ssh", "-F", self.config, "-o", "ControlMaster=auto", "-o", f"ControlPath={self.control}{user}", "-o", "ControlPersist=60",
             "login" + user, " ".join(words + [shlex.quote(word) for word in argv])], stdin=stdin, timeout=timeout)

    def script(self, name, body):
        path = f"{self.place}/{name}"
        done = self.run(["sh", "-c", f"mkdir -p {self.place}; cat > {shlex.quote(path)}"], stdin=f"#!/bin/sh\n{body}\n")
        assert done.rc == 0, done
        return path

    def text(self, name):
        return self.run(["cat", f"{self.place}/{name}"]).out

    def close(self):
        self.run(["rm", "-rf", self.place])
        for user in ("", "-dave"):
            commands.run(["ssh", "-F", self.config, "-o", f"ControlPath={self.control}{user}", "-O", "exit", "login" + user])


@pytest.fixture(scope="module")
def login(cluster, tmp_path_factory):
    there = Login(cluster.ssh_config, tmp_path_factory.mktemp("ssh"))
    yield there
    there.close()


@pytest.fixture(params=["slurm", "slurm_pbs"])
def batch(request, login, monkeypatch):
    monkeypatch.setenv("HOME", login.home)
    here = Batch(request.param, login)
    yield here
    for job_id in here.ids:
        if not here.look(job_id).over:
            here.scheduler.cancel(job_id)


class Batch:
    """A scheduler and what was submitted to it."""

    def __init__(self, dialect, login):
        self.dialect = dialect
        self.login = login
        self.scheduler = schedulers.get(dialect, login.run, user="carol")
        self.ids = []

    def submit(self, body, name=None, after=None, **resources):
        name = name or "jupyter-" + secrets.token_hex(4)
        script = self.login.script("%s job.sh" % name, body)
        resources.setdefault("walltime", 300)
        resources.setdefault("memory", 100 << 20)
        job_id = self.scheduler.submit(base.Submission(
            name, script, "%s/%s 100%%.out" % (self.login.place, name), base.Resources(**resources), after_failure_of=after))
        self.ids.append(job_id)
        return job_id

    def look(self, job_id):
        return self.scheduler.look([job_id])[job_id]

    def wait(self, job_id, *states):
        until(lambda: self.look(job_id).state in states, f"{job_id} {states}", PATIENCE)
        return self.look(job_id)

    def kind(self, kind):
        """What is known of an ending: nothing, by the PBS commands."""
        return kind if self.dialect == "slurm" else base.EXIT_UNKNOWN


@pytest.mark.parametrize("status, kind", [(0, base.CLEAN), (3, base.FAILED)])
def test_a_job_from_its_start_to_its_end(batch, status, kind):
    # Output is appended to, so each has a file of its own.
    name = "jupyter-a-name-longer-than-15-%d" % status
    job_id = batch.submit("echo on $(hostname); exit %d" % status, name=name)
    job = batch.wait(job_id, base.FINISHED)
    assert (job.exit_kind, job.name) == (batch.kind(kind), name)
    assert batch.login.text(name + " 100%.out") == "on %s\n" % job.nodes[0]


def test_a_running_job_over_two_nodes(batch):
    job_id = batch.submit("sleep 120", nodes=2, cores=2)
    job = batch.wait(job_id, base.RUNNING)
    assert (sorted(job.nodes), job.cores_total, job.walltime, job.ends - job.started) == (["node1", "node2"], 4, 300, 300)
    assert [mine.name for mine in batch.scheduler.mine() if mine.id == job_id] == [job.name]
    assert batch.scheduler.cancel(job_id) == "cancelled"
    assert batch.wait(job_id, base.FINISHED).exit_kind == batch.kind(base.CANCELLED)
    assert batch.scheduler.cancel(job_id) == "over"


def test_a_job_with_a_gpu(batch):
    job_id = batch.submit("sleep 60", gpus=1)
    batch.wait(job_id, base.RUNNING)
    details = batch.login.run(["scontrol", "show", "job", job_id]).out
    assert "gres:gpu:1" in details or "gpu=1" in details or "gres/gpu:1" in details, details


def test_nothing_of_the_login_gets_into_the_job(batch):
    name = "jupyter-environment"
    batch.wait(batch.submit("echo locale=$LC_ALL runtime=$XDG_RUNTIME_DIR; pwd; umask", name=name), base.FINISHED)
    lines = batch.login.text(name + " 100%.out").splitlines()
    assert lines[0].endswith("runtime=") and lines[1] == batch.login.home


def test_the_successor_of_a_cancelled_job_starts_and_of_a_good_one_does_not(batch):
    bad, good = batch.submit("sleep 120"), batch.submit("exit 0")
    after_bad = batch.submit("exit 0", after=bad)
    after_good = batch.submit("exit 0", after=good)
    assert batch.look(after_bad).state in (base.HELD, base.QUEUED)
    batch.wait(bad, base.RUNNING)
    batch.scheduler.cancel(bad)
    assert batch.wait(after_bad, base.FINISHED).nodes != []
    batch.wait(good, base.FINISHED)
    if batch.dialect == "slurm":
        job = batch.wait(after_good, base.FINISHED)
        assert (job.exit_kind, job.nodes) == (base.CANCELLED, [])
    else:
        # Stays for good: whoever ends well removes it.
        assert batch.look(after_good).state == base.QUEUED
        assert batch.scheduler.cancel(after_good) == "cancelled"


def test_held_and_many_at_once(batch):
    held, running = batch.submit("exit 0", options=["-H" if batch.dialect == "slurm" else "-h"]), batch.submit("sleep 60")
    batch.wait(running, base.RUNNING)
    jobs = batch.scheduler.look([held, running, "999999"])
    assert jobs[held].state == (base.HELD if batch.dialect == "slurm" else base.QUEUED)
    assert jobs[running].state == base.RUNNING
    assert (jobs["999999"].state, jobs["999999"].exit_kind) == (base.FINISHED, base.EXIT_UNKNOWN)
    assert batch.scheduler.cancel("999999") == "unknown"


@pytest.mark.parametrize("resources, variable", [
    ({"queue": "nope"}, "jupyter_queue"), ({"queue": "short", "walltime": 36000}, "jupyter_walltime"), ({"cores": 99}, "jupyter_cores"),
    ({"nodes": 9}, "jupyter_nodes"), ({"memory": 1 << 40}, "jupyter_memory"), ({"gpus": 99}, "jupyter_gpus"),
    ({"options": ["--zzz"]}, "jupyter_batch_options")])
def test_a_refusal_leaves_nothing_behind(batch, resources, variable):
    name = "jupyter-refused-" + secrets.token_hex(3)
    with pytest.raises(base.Refused) as caught:
        batch.submit("exit 0", name=name, **resources)
    assert variable in caught.value.advice
    assert not [job for job in batch.scheduler.mine() if job.name == name]


def test_somebody_elses_job(batch, login):
    theirs = login.run(["sbatch", "--parsable", "--wrap", "sleep 60"], user="-dave").out.strip()
    try:
        batch.wait(theirs, base.RUNNING)
        with pytest.raises(base.Refused, match="permission denied"):
            batch.scheduler.cancel(theirs)
    finally:
        login.run(["scancel", theirs], user="-dave")


def test_no_controller_is_unknown(batch):
    """A controller that is not there, for us alone: the cluster's own goes on."""
    job_id = batch.submit("sleep 120")
    batch.wait(job_id, base.RUNNING)
    conf = batch.login.place + "/slurm.conf"
    batch.login.run(["sh", "-c", "sed 's/^SlurmctldPort=.*//; s/^SlurmctldHost=.*/SlurmctldHost=login(127.0.0.1)/; s/^SlurmctldTimeout.*//' "
                           "/etc/slurm/slurm.conf > %s; echo SlurmctldPort=1 >> %s; echo MessageTimeout=1 >> %s" % (conf, conf, conf)])
    deaf = schedulers.get(batch.dialect, batch.login.run, commands={"environment": {"SLURM_CONF": conf}}, user="carol")
    job = deaf.look([job_id])[job_id]
    assert job.state == base.UNKNOWN and job.reason
    for call in (deaf.mine, lambda: deaf.cancel(job_id), lambda: deaf.submit(base.Submission(
            "jupyter-deaf", batch.login.script("deaf.sh", "exit 0"), batch.login.place + "/deaf.out", base.Resources()))):
        with pytest.raises(base.Unreachable):
            call()
    assert batch.look(job_id).state == base.RUNNING


def test_detect_on_the_login_node(login):
    """The whole program there, under the Python of that host."""
    sources = pathlib.Path(schedulers.__file__).resolve().parents[1]
    code = ["import sys, types, json", "FILES = {}"]
    for path in sorted(sources.glob("*.py")) + sorted(sources.glob("schedulers/*.py")):
        code.append("FILES[%r] = %r" % (str(path.relative_to(sources)), path.read_text(encoding="utf-8")))
    code.append("""
import os, tempfile
root = tempfile.mkdtemp()
for name, text in FILES.items():
    path = os.path.join(root, "program", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w", encoding="utf-8").write(text)
open(os.path.join(root, "program", "__init__.py"), "w").close()
sys.path.insert(0, root)
from program import commands, schedulers
print(json.dumps([schedulers.detect(commands.run), schedulers.detect(commands.run, wanted="slurm_pbs")]))
import shutil; shutil.rmtree(root)
""")
    done = login.run(["python3", "-"], stdin="\n".join(code))
    assert done.rc == 0, done.err
    assert '["slurm", {"sbatch": "/usr/bin/sbatch"' in done.out
    assert '["slurm_pbs", {"qsub": "/usr/bin/qsub"' in done.out
