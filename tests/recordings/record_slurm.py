#!/usr/bin/env python3
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records what a real Slurm answers to the very commands of the collection.

    record_slurm.py CLUSTER > slurm-22.05-forms.json

CLUSTER is the name of a test cluster of this run's own (molecule/cluster/cluster
--name CLUSTER up): its scheduler is stopped and a node is cut off on the way, and
munge is left dead. Takes three minutes.
"""

import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
for _name, _path in (("collection", ROOT / "plugins"), ("collection.module_utils", ROOT / "plugins" / "module_utils")):
    sys.modules[_name] = types.ModuleType(_name)
    sys.modules[_name].__path__ = [str(_path)]
commands = importlib.import_module("collection.module_utils.commands")
schedulers = importlib.import_module("collection.module_utils.schedulers")
base = schedulers.base

NAME = sys.argv[1]
STATE = "/run/hpc-jupyter-cluster/%s" % NAME
SLEEP, FAIL, GOOD = "/home/carol/rec/sleep.sh", "/home/carol/rec/fail.sh", "/home/carol/rec/good.sh"


def cluster(*arguments):
    subprocess.run([str(ROOT / "molecule" / "cluster" / "cluster"), "--name", NAME] + list(arguments), check=True, stdout=sys.stderr)


class Recorder:
    """A ``run`` that goes to the login node by ssh and writes down what happened there."""

    def __init__(self):
        self.entries = {}
        self.scene = None

    def __call__(self, argv, stdin=None, timeout=60, env=None, user=""):
        begin = time.time()
        done = commands.run(
            ["ssh", "-F", STATE + "/ssh_config", "-o", "ControlMaster=auto", "-o", "ControlPath=/tmp/rec-%C", "-o", "ControlPersist=30",
             "login" + user, "LC_ALL=C " + " ".join(shlex.quote(word) for word in argv)], stdin=stdin, timeout=timeout)
        if self.scene:
            number = sum(1 for name in self.entries if name.startswith(self.scene + "/")) + 1
            self.entries["%s/%d" % (self.scene, number)] = {
                "cmd": "carol@login: " + " ".join(shlex.quote(word) for word in argv), "rc": done.rc,
                "stdout": done.out, "stderr": done.err, "seconds": round(time.time() - begin, 3)}
        return done

    def named(self, scene, function, *arguments):
        """Records all that ``function`` runs under that name; a refusal is part of it."""
        self.scene = scene
        try:
            return function(*arguments)
        except base.SchedulerError as error:
            sys.stderr.write("%s: %s\n" % (scene, str(error).replace("\n", " | ")))
            return None
        finally:
            self.scene = None


def submission(name, script, after=None, mail=None, **resources):
    return base.Submission("jupyter-" + name, script, "/home/carol/rec/%s.out" % name, base.Resources(**resources),
                           mail=mail, after_failure_of=after)


def until(scheduler, job_id, states, seconds=200):
    deadline = time.time() + seconds
    while time.time() < deadline:
        if scheduler.look([job_id])[job_id].state in states:
            return
        time.sleep(0.5)
    raise SystemExit("%s never became %s" % (job_id, states))


def record(scheduler, recorder):
    def note(scene, function, *arguments):
        return recorder.named(scheduler.name + "-" + scene, function, *arguments)

    def submit(scene, *arguments, **more):
        return note("submit-" + scene, scheduler.submit, submission(scene, *arguments, **more))

    run = recorder
    limited = submit("time-limit", SLEEP, walltime=60)
    lost = submit("node-lost", SLEEP, options=["-w node2"]) if scheduler.name == "slurm" else None
    running = submit("full", SLEEP, nodes=2, cores=1, memory=100 << 20, walltime=600, queue="batch", mail="carol@cluster.test")
    failing = submit("failing", FAIL)
    successor = submit("successor", GOOD, after=running)
    held = submit("held", GOOD, options=[{"slurm": "-H"}.get(scheduler.name, "-h")])
    until(scheduler, running, (base.RUNNING,))
    until(scheduler, failing, (base.FINISHED,))
    good = submit("good", GOOD)
    until(scheduler, good, (base.FINISHED,))
    needless = submit("needless", GOOD, after=good)
    never = run(["sbatch", "--parsable", "-J", "jupyter-never", "--dependency=afternotok:" + good, "--wrap", "true"]).out.strip()
    gpu = submit("gpu", GOOD, gpus=1, account="proj1")
    waiting = submit("waiting", SLEEP, nodes=2, cores=4, walltime=300)
    time.sleep(4)
    note("look-many", scheduler.look, [running, successor, held, failing, good, "99999"])
    note("look-needless", scheduler.look, [needless])
    note("look-waiting", scheduler.look, [waiting])
    note("look-never", scheduler.look, [never])
    run(["scancel", never, gpu])
    note("look-unknown", scheduler.look, ["99999"])
    note("look-two-unknown", scheduler.look, ["99998", "99999"])
    note("mine", scheduler.mine)
    note("cancel-waiting", scheduler.cancel, waiting)
    note("cancel-held", scheduler.cancel, held)
    note("cancel-running", scheduler.cancel, running)
    note("cancel-finished", scheduler.cancel, good)
    note("cancel-unknown", scheduler.cancel, "99999")
    until(scheduler, running, (base.FINISHED,))
    until(scheduler, successor, (base.FINISHED,))
    note("look-cancelled", scheduler.look, [running, held, successor])
    theirs = run(["sbatch", "--parsable", "--wrap", "sleep 60"], user="-dave").out.strip()
    until(scheduler, theirs, (base.RUNNING,))
    note("cancel-others", scheduler.cancel, theirs)
    run(["scancel", theirs], user="-dave")

    for scene, resources in (
            ("bad-queue", {"queue": "nope"}), ("bad-walltime", {"queue": "short", "walltime": 36000}), ("bad-cores", {"cores": 99}),
            ("bad-nodes", {"nodes": 3}), ("bad-memory", {"memory": 1 << 40}), ("bad-gpus", {"gpus": 99}),
            ("bad-option", {"options": ["--zzz"]}), ("bad-feature", {"options": ["-C nofeature"]})):
        submit(scene, GOOD, **resources)
    note("submit-bad-script", scheduler.submit, submission("bad-script", "/home/carol/rec/none.sh"))

    subprocess.run([str(ROOT / "molecule/cluster/cluster"), "--name", NAME, "exec", "login", "--", "scontrol", "update",
                    "partitionname=short", "state=down"], check=True)
    down = submit("partition-down", GOOD, queue="short", walltime=60)
    cluster("node2", "drain")
    drained = submit("drained", GOOD, nodes=2)
    time.sleep(4)
    note("look-hopeless", scheduler.look, [down, drained])
    run(["scancel", down, drained])
    cluster("node2", "resume")
    subprocess.run([str(ROOT / "molecule/cluster/cluster"), "--name", NAME, "exec", "login", "--", "scontrol", "update",
                    "partitionname=short", "state=up"], check=True)

    if lost:
        cluster("node2", "unplug")
        until(scheduler, lost, (base.FINISHED,))
        note("look-node-lost", scheduler.look, [lost])
        cluster("node2", "plug")
    until(scheduler, limited, (base.FINISHED,))
    note("look-time-limit", scheduler.look, [limited])
    run(["scancel", "-u", "carol"])


def record_faults(scheduler, recorder, fault):
    for scene, function, argument in (("submit", scheduler.submit, submission("down", GOOD)), ("look", scheduler.look, ["1", "2"]),
                                      ("mine", scheduler.mine, None), ("cancel", scheduler.cancel, "1")):
        recorder.named("%s-%s-%s" % (scheduler.name, fault, scene), function, *([] if argument is None else [argument]))


def main():
    os.environ["HOME"] = "/home/carol"
    recorder = Recorder()
    recorder(["sh", "-c", "mkdir -p rec; cd rec; printf '#!/bin/sh\\nsleep 300\\n' > sleep.sh; printf '#!/bin/sh\\nexit 3\\n' > fail.sh; "
              "printf '#!/bin/sh\\nexit 0\\n' > good.sh"])
    both = [schedulers.get(name, recorder, user="carol") for name in ("slurm", "slurm_pbs")]
    for scheduler in both:
        recorder.named(scheduler.name + "-version", recorder, [{"slurm": "sbatch"}.get(scheduler.name, "qstat"), "--version"])
        record(scheduler, recorder)
    cluster("scheduler", "stop")
    for scheduler in both:
        record_faults(scheduler, recorder, "down")
    cluster("scheduler", "start")
    cluster("exec", "login", "--", "pkill", "-x", "munged")
    for scheduler in both:
        record_faults(scheduler, recorder, "munge")
    text = json.dumps(recorder.entries, indent=1)
    # The cluster's own name says nothing to anybody.
    sys.stdout.write(re.sub(r"\b%s\.test\b" % re.escape(NAME), "hpc.test", text) + "\n")


if __name__ == "__main__":
    main()
