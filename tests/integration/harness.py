# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person at a laptop, for the tests: runs playbooks, types the commands they print, looks at the cluster."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
PASSWORD = "correct horse"
PATIENCE = 60.0  # seconds
MARK = "@@record "


def until(condition: Callable, what: str, patience: float = PATIENCE):
    """Wait until a condition holds and return its value; fail when it never does."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {patience:g} s in vain for {what}")
        time.sleep(0.1)


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that ended, of which init has not taken notice yet, does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# -- the cluster ---------------------------------------------------------------------------


class Cluster:
    """One test cluster (molecule/cluster), driven as a developer drives it."""

    def __init__(self, name: str, net: str) -> None:
        self.name = name
        self.net = net
        self.state = f"/run/hpc-jupyter-cluster/{name}"
        self.ssh_config = f"{self.state}/ssh_config"
        self.inventory = f"{self.state}/inventory"
        self.command = [str(ROOT / "molecule" / "cluster" / "cluster"), "--name", name]

    def verb(self, *words: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [*self.command, *words], text=True, timeout=timeout,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if check and done.returncode:
            pytest.fail(f"cluster {' '.join(words)}: rc {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def up(self) -> None:
        """Bring it up in the default shape; one that is up already stays."""
        self.verb("up", "--net", self.net, timeout=900)

    def shell(self, script: str, user: str = "carol", host: str = "login", check: bool = True) -> str:
        """Run shell lines in a host, past every ssh, in a login shell; return what they print."""
        words = ["run-as", user, host] if user != "root" else ["exec", host]
        done = self.verb(*words, "--", "bash", "-lc", script, check=False)
        assert done.returncode == 0 or not check, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def processes(self, user: str, host: str = "login") -> list[str]:
        """Return the command lines of a user's processes in a host, but this look's own and ssh connections."""
        lines = self.shell(f"ps -ww -u {user} -o args=", "root", host, check=False).splitlines()
        return [line for line in lines if not line.startswith(("sshd:", "(sd-pam)"))]

    def jobs(self, user: str = "carol") -> list[str]:
        """Return the ids of a user's jobs that are not over."""
        return self.shell(f"squeue -h -u {user} -o %i").split()

    def clear(self, user: str = "carol") -> None:
        """Give a user back a fresh account: no jobs, no files but those of ssh."""
        self.shell(f"scancel --full -u {user}", user)
        until(lambda: not self.jobs(user), f"the end of {user}'s jobs")
        self.shell("find ~ -mindepth 1 -maxdepth 1 ! -name .ssh -exec rm -rf {} +", user)
        self.shell("rm -rf /tmp/jupyter-$(id -u)-*", user)

    def has_module(self, module: str) -> bool:
        return bool(self.shell(f"module -t avail {shlex.quote(module)} 2>&1", check=False).strip().splitlines()[1:])


def copy_collection(target: pathlib.Path) -> None:
    """Copy what of this checkout belongs to a collection."""
    target.mkdir(parents=True)
    for part in ("plugins", "roles", "playbooks", "meta"):
        shutil.copytree(ROOT / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))


def copied(name: str, target: pathlib.Path, **replaced: str) -> pathlib.Path:
    """Copy an example inventory and fill in what is in capitals there."""
    shutil.copytree(ROOT / "inventory" / name, target)
    for path in target.rglob("*.yml"):
        text = path.read_text(encoding="utf-8")
        for placeholder, value in replaced.items():
            text = text.replace(placeholder.replace("_EXAMPLE_", ".EXAMPLE."), value)
        path.write_text(text, encoding="utf-8")
    return target


# -- playbooks -----------------------------------------------------------------------------


@dataclasses.dataclass
class Run:
    """What a playbook did."""

    rc: int
    text: str        # what a person sees
    records: list    # every task's outcome

    @property
    def result(self) -> dict:
        """The result of the last task that had one."""
        assert self.records, self.text
        return self.records[-1]["result"]

    @property
    def message(self) -> str:
        return self.result["msg"]

    def of(self, action: str) -> dict:
        """The result of the last task of a module by its short name."""
        found = [one["result"] for one in self.records if one["action"] == "hpc.jupyter." + action]
        assert found, f"no task of {action} was run:\n{self.text}"
        return found[-1]

    @property
    def changed(self) -> bool:
        return any(one["result"].get("changed") for one in self.records)

    def succeeded(self) -> Run:
        assert self.rc == 0, self.text
        return self

    def failed(self) -> Run:
        """Assert that it failed as things fail for a person: with a message, and no traceback of ours."""
        assert self.rc != 0, self.text
        assert "Traceback" not in self.text and "traceback" not in self.result, self.text
        return self


def _control_path_dir() -> str:
    directory = tempfile.mkdtemp(prefix="hpcj-", dir="/tmp")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


class Controller:
    """Where Ansible runs: this machine, unless ``prefix`` leads elsewhere.

    :param home: a directory for the laptop's own state.
    :param variables: extra variables of every run.
    """

    def __init__(self, home: pathlib.Path, collections: str, inventory: str, variables: dict | None = None,
                 program: str | None = None, prefix: list[str] | None = None, environment: dict | None = None,
                 cwd: pathlib.Path | None = None) -> None:
        self.home = home
        self.inventory = inventory
        self.variables = dict(variables or {})
        self.program = program or str(pathlib.Path(sys.executable).parent / "ansible-playbook")
        self.prefix = list(prefix or [])
        self.cwd = cwd or home
        self.environment = {
            "ANSIBLE_COLLECTIONS_PATH": collections,
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
            "ANSIBLE_HOME": f"{home}/.ansible",
            # pytest's own directories leave no room for a socket's name.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": _control_path_dir(),
            "ANSIBLE_LOCAL_TEMP": f"{home}/.ansible/tmp",
            "XDG_DATA_HOME": f"{home}/.local/share",
            "XDG_STATE_HOME": f"{home}/.local/state",
            "HOME": str(home),
            "PYTHONDONTWRITEBYTECODE": "1",
            # ansible-core 2.19 writes out at its end what does not go to a terminal.
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }

    @property
    def authority(self) -> pathlib.Path:
        """The certificate of the person's own authority."""
        return pathlib.Path(self.environment["XDG_DATA_HOME"], "hpc.jupyter", "ca.crt")

    def argv(self, playbook: str, *more: str, **variables) -> list[str]:
        words = [f"{name}={value}" for name, value in self.environment.items()]
        merged = {**self.variables, **variables}
        given = [word for name, value in merged.items() for word in ("-e", json.dumps({name: value}))]
        playbook = playbook if "." in playbook else f"hpc.jupyter.{playbook}"
        return [*self.prefix, "env", *words, self.program, "-i", self.inventory, playbook, *given, *more]

    def run(self, playbook: str, *more: str, timeout: float = 240, **variables) -> Run:
        """Run a playbook of the collection with extra variables (``jupyter_...=value``)."""
        done = subprocess.run(
            self.argv(playbook, *more, **variables), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=timeout, check=False, cwd=self.cwd)
        return _parse(done.returncode, done.stdout)

    def disconnect(self) -> None:
        """End every connection that Ansible left open; tunnels are none of them."""
        for control in pathlib.Path(self.environment["ANSIBLE_SSH_CONTROL_PATH_DIR"]).glob("*"):
            subprocess.run(["ssh", "-F", "none", "-S", str(control), "-O", "exit", "--", "master"], capture_output=True, check=True)


def _parse(rc: int, output: str) -> Run:
    lines = output.splitlines()
    records = [json.loads(line[len(MARK):]) for line in lines if line.startswith(MARK)]
    return Run(rc, "\n".join(line for line in lines if not line.startswith(MARK)), records)


# -- what the person does with the result ---------------------------------------------------


@contextlib.contextmanager
def typed(tunnel: dict, log: pathlib.Path) -> Iterator[subprocess.Popen]:
    """Type a launch's command in a shell of the laptop and leave it running, as the launch says; Ctrl-C ends it.

    :param tunnel: the result's ``tunnel``.
    :param log: takes what the command says.

    The block begins when something answers at the launch's address.
    """
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            ["bash", "-c", tunnel["command"]], stdin=subprocess.PIPE, stdout=stream, stderr=stream, start_new_session=True)
    try:
        until(lambda: _answers(tunnel["url"]) or process.poll() is not None, "an answer through the tunnel")
        assert process.poll() is None, f"{tunnel['command']}\nended with {process.returncode}: {log.read_text()}"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdin.close()


def _answers(url: str) -> bool:
    # Whose answer it is, the client that trusts one authority alone finds out.
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=anyone))
    try:
        opener.open(url + "api", timeout=5).read()
    except urllib.error.HTTPError:
        return True
    except (OSError, http.client.HTTPException):
        return False
    return True
