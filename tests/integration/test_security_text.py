# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster says may hold anything: it is shown harmless, and nothing in it is ever evaluated.

On the newest ansible-core and on 2.16, whose templates were less careful.
"""

from __future__ import annotations

import fcntl
import json
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
from harness import PASSWORD, ROOT, Cluster, Controller

OLDEST = "2.16.19"
# Characters that a terminal obeys; ours begin after the newline.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="session")
def oldest_ansible() -> str:
    """An ansible-playbook of the oldest supported core, made once per machine."""
    directory = pathlib.Path("/opt/hpc-jupyter-cluster", f"ansible-{OLDEST}")
    directory.parent.mkdir(exist_ok=True)
    with open(directory.parent / ".ansible.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / ".complete").exists():
            found = subprocess.run([str(ROOT / "tools" / "pythons"), "3.11", "3.10", "3.12"], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
            shutil.rmtree(directory, ignore_errors=True)
            subprocess.run([found.stdout.split()[1], "-m", "venv", str(directory)], check=True)
            subprocess.run([str(directory / "bin" / "python"), "-m", "pip", "install", "-q", f"ansible-core=={OLDEST}", "cryptography",
                            "libpass==1.9.4", "argon2-cffi"], check=True)
            (directory / ".complete").touch()
    return str(directory / "bin" / "ansible-playbook")


@pytest.fixture(params=["newest", "oldest"])
def controller(request, account: Cluster, collections: str, tmp_path: pathlib.Path) -> Controller:
    program = request.getfixturevalue("oldest_ansible") if request.param == "oldest" else None
    return Controller(tmp_path, collections, account.inventory, {
        "jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD, "jupyter_walltime": "00:05:00"}, program=program)


class Trap:
    """A text that does harm wherever it is evaluated, and a look at whether it was."""

    def __init__(self, cluster: Cluster, directory: pathlib.Path) -> None:
        self.cluster = cluster
        self.sprung = directory / "sprung"
        self.shell_part = f"$(touch {self.sprung}) `touch {self.sprung}` ; touch {self.sprung} #"
        self.text = f"\x1b]0;owned\x07\x1b[31m\x1b[2J\x9b1A\u202e\rhostile {{{{ lookup('pipe', 'touch {self.sprung}') }}}}{{% raw %}} {self.shell_part}"
        # As bytes: a "{{" in what the person writes is Ansible's own affair.
        self.printf = "printf " + shlex.quote("".join(f"\\{byte:03o}" for byte in f"{self.text}\n".encode()))

    def was_sprung(self) -> bool:
        there = self.cluster.shell(f"ls {self.sprung} 2>/dev/null; rm -f {self.sprung}", "root")
        here = self.sprung.exists()
        self.sprung.unlink(missing_ok=True)
        return here or bool(there)


@pytest.fixture
def trap(account, tmp_path) -> Trap:
    made = Trap(account, tmp_path)
    account.shell(f"mkdir -p -m 777 {tmp_path}", "root")
    return made


# A site's own playbook that goes on with what ours gave.
USING = """
- hosts: all
  gather_facts: false
  tasks:
    - hpc.jupyter.{module}: {arguments}
      register: came
      ignore_errors: true
    - ansible.builtin.debug: {{var: came}}
    - ansible.builtin.debug: {{msg: "it said {{{{ came.msg }}}}"}}
    - ansible.builtin.set_fact: {{again: "{{{{ came.msg }}}}"}}
    - ansible.builtin.debug: {{msg: "it said {{{{ again }}}}"}}
"""


def play(controller: Controller, directory: pathlib.Path, text: str, *more: str, **variables):
    path = directory / "play.yml"
    path.write_text(text, encoding="utf-8")
    return controller.run(str(path), *more, **variables)


def outcome(run, module: str) -> str:
    return next(one["outcome"] for one in run.records if one["action"] == f"hpc.jupyter.{module}")


def assert_harmless(run, trap: Trap) -> None:
    assert not trap.was_sprung(), run.text
    assert not OBEYED.search(run.text), OBEYED.findall(run.text)
    # It is there to be read: hiding it would make the test pass, too.
    assert "hostile {{ lookup('pipe'" in run.text.replace("\\\\", "\\"), run.text


def test_the_trap_works(account, controller, trap, tmp_path):
    """Where text is trusted it is obeyed; a test of harmlessness must be able to fail."""
    run = play(controller, tmp_path, "- {hosts: all, gather_facts: false, tasks: [{ansible.builtin.debug: {msg: '{{ mine }}'}}]}\n",
               mine=trap.text.replace("{% raw %}", ""))
    assert trap.was_sprung(), run.text
    account.shell(f"echo {shlex.quote(trap.printf)} >~/.bashrc")
    shown = subprocess.run(["ssh", "-F", account.ssh_config, "login", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert OBEYED.search(shown.stdout.decode("utf-8", "replace"))
    account.shell(f"echo {trap.shell_part}")
    assert trap.was_sprung()


def scheduler_says(account: Cluster, script: str) -> None:
    """Put a squeue of the test's own in place of the real one."""
    path = pathlib.Path(account.state, "home/carol/squeue")
    path.write_text("#!/bin/bash\n" + script)
    path.chmod(0o755)
    site = pathlib.Path(account.state, "home/carol/.jupyter/batch/site.json")
    facts = json.loads(site.read_text())
    facts["commands"]["squeue"] = "/home/carol/squeue"
    site.write_text(json.dumps(facts))


def test_nothing_that_a_cluster_says_is_obeyed(account, controller, trap, tmp_path):
    # The login shell, at every ssh, and a command of the site's that setup tries.
    account.shell(f"echo {shlex.quote(trap.printf)} >~/.bashrc; echo {shlex.quote(trap.printf + ' >&2')} >>~/.bashrc")
    arguments = {"environment": {"modules": ["jupyterlab"], "commands": [trap.printf, "exit 3"]}}
    run = play(controller, tmp_path, USING.format(module="batch", arguments=json.dumps(arguments))).succeeded()
    assert outcome(run, "batch") == "failed", run.text
    assert_harmless(run, trap)

    # A job that prints it and dies.
    controller.run("setup", jupyter_job_commands=[f'if [ -n "${{SLURM_JOB_ID:-}}" ]; then {trap.printf}; exit 9; fi']).succeeded()
    run = play(controller, tmp_path, USING.format(module="session", arguments='{wait_timeout: 60}')).succeeded()
    assert outcome(run, "session") == "failed" and run.of("session")["log_tail"]
    assert_harmless(run, trap)

    # The scheduler's reason for a job that waits, and its last words when it fails.
    said = f"said=$({trap.printf} | tr -d '|\\n\\r')\n"
    scheduler_says(account, said + """/usr/bin/squeue "$@" |
while IFS='|' read -r job queue state reason rest; do printf '%s\\n' "$job|$queue|$state|$said|$rest"; done\n""")
    run = play(controller, tmp_path, USING.format(
        module="session", arguments='{name: queued, options: ["--begin=now+1hour"], wait_timeout: 3, hold: 1}')).succeeded()
    assert run.of("session")["state"] == "queued" and "hostile" in run.of("session")["reason"], run.text
    assert_harmless(run, trap)
    status = controller.run("status").succeeded()
    assert not trap.was_sprung() and not OBEYED.search(status.text) and "queued" in status.text
    scheduler_says(account, said + """printf 'slurm_load_jobs error: %s\\n' "$said" >&2; exit 1\n""")
    run = play(controller, tmp_path, USING.format(module="session", arguments='{name: queued, wait_timeout: 3, hold: 1}')).succeeded()
    assert outcome(run, "session") == "failed", run.text
    assert_harmless(run, trap)


@pytest.mark.parametrize("field, value", [
    ("node", "node1 -oProxyCommand=touch"), ("node", "-oProxyCommand=touch"), ("node", "{{ lookup('pipe', 'id') }}"),
    ("endpoint", {"kind": "socket", "path": "/tmp/$(touch x)"}), ("endpoint", {"kind": "socket", "path": "/tmp/a:b"}),
    ("endpoint", {"kind": "tls", "address": "$(touch x)", "port": 1}), ("base_url", "/';touch x;'/"),
])
def test_what_goes_into_a_command_line_is_refused_when_odd(field, value):
    from ansible_collections.hpc.jupyter.plugins.plugin_utils import routes

    answer = {"session": "default", "id": "0" * 32, "node": "node1", "endpoint": {"kind": "socket", "path": "/tmp/j/s"}, "base_url": "/",
              "relay_dir": "/tmp/jupyter-1"}
    assert routes.Target.from_answer(answer)
    with pytest.raises(routes.RouteError):
        routes.Target.from_answer(dict(answer, **{field: value}))
