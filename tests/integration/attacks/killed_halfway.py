# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the login node: kills the program at each of its steps, one after the other, and lets the next launch find what is left.

    python3 killed_halfway.py BATCH_DIR launch|stop

A step is whatever the rest of the world can see: a file made, renamed, linked, removed or touched, and a command of the
scheduler; the kill comes right before it and right after. Jobs are held, so that none of them ever starts.
Prints one JSON line for each kill.
"""

import json
import os
import subprocess
import sys

batch_dir, verb = sys.argv[1:]
sys.path.insert(0, os.path.join(batch_dir, "program.pyz"))

from hpc_jupyter import commands, program  # noqa: E402

REQUEST = {"batch_dir": batch_dir, "resources": {"options": ["--hold"], "walltime": "5m"}, "renewals": 1, "hold": 0, "grace": 0}


def call(verb, session):
    """Call the program in a process of its own; its answer, None when it was killed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, json.dumps(program.answer(dict(REQUEST, verb=verb, session=session))).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def count_down(steps):
    """Have this process die at its steps-th step."""
    left = [steps]

    def step():
        left[0] -= 1
        if left[0] < 0:
            os._exit(137)

    def deadly(function):
        def called(*arguments, **named):
            step()
            value = function(*arguments, **named)
            step()
            return value
        return called

    for name in ("rename", "link", "unlink", "mkdir"):
        setattr(os, name, deadly(getattr(os, name)))
    commands.run = deadly(commands.run)


def call_and_die(verb, session, steps):
    """Call the program and kill it; whether it came to its end before that."""
    child = os.fork()
    if child == 0:
        count_down(steps)
        program.answer(dict(REQUEST, verb=verb, session=session))
        os._exit(0)
    return os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 0


def jobs(session):
    done = subprocess.run(["squeue", "-h", "-n", "jupyter-" + session, "-o", "%i"], stdout=subprocess.PIPE, check=True)
    return sorted(done.stdout.decode().split())


def main():
    for steps in range(200):
        session = "%s-%d" % (verb, steps)
        if verb == "stop":
            call("launch", session)
        done = call_and_die(verb, session, steps)
        found = jobs(session)
        after = call("launch", session)
        known = sorted(job for job in (after.get("job"), after.get("successor")) if job)
        outcome = {"steps": steps, "done": done, "found": found, "after": jobs(session), "known": known, "state": after.get("state"),
                   "msg": after.get("msg")}
        stopped = call("stop", session)
        outcome.update(stopped=jobs(session), stop_msg=stopped.get("msg"), files=sorted(
            name for name in os.listdir(os.path.join(batch_dir, "sessions", session)) if not name.startswith((".", "lock."))))
        print(json.dumps(outcome), flush=True)
        if done:
            break


main()
