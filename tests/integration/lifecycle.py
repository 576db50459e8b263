# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of a session's life share: an account that is set up once, runs in the background, a full queue, faults."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import secrets
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import remote
from harness import PASSWORD, PATIENCE, ROOT, Cluster, Controller, Run, _parse, free_port, runs, until

PROXYLESS = urllib.request.build_opener(urllib.request.ProxyHandler({}))
LONG = 180.0  # seconds; what a scheduler takes to notice something


class Person(Controller):
    """A person with an account that is set up, at one laptop."""

    cluster: Cluster

    def background(self, playbook: str, **variables) -> Background:
        """Start a playbook and go on."""
        return Background(self, playbook, variables)

    def look(self, session: str = "default") -> dict:
        """What the login node knows of a session."""
        return self.ask("info", sessions=[session])["sessions"][0]

    def ask(self, verb: str, host: str = "login", **request) -> dict:
        """Call a verb of the login-node program past Ansible."""
        mark = secrets.token_hex(8)
        source = remote.payload(dict(request, verb=verb), mark)
        done = subprocess.run(
            [*self.cluster.command, "run-as", "carol", host, "--", "env", "HOME=/home/carol", "bash", "-lc", "cd; exec python3 -I -"], input=source,
            capture_output=True, timeout=240, check=False)
        lines = [line for line in done.stdout.decode().splitlines() if line.startswith(mark)]
        assert lines, done
        return json.loads(lines[0][len(mark):])

    def left(self) -> str:
        """What is left of all sessions, in words: jobs at the scheduler, tunnels of this laptop."""
        jobs = len(self.cluster.jobs())
        known = [json.loads(path.read_text()) for path in pathlib.Path(self.environment["XDG_STATE_HOME"], "hpc.jupyter", "tunnels").glob("*.json")]
        tunnels = [one for one in known if one.get("pid") and runs(one["pid"])]
        return f"{'no job' if not jobs else f'{jobs} job' + 's' * (jobs > 1)}, {'a tunnel' if tunnels else 'no tunnel'}"


class Background:
    """A playbook that runs while the test goes on."""

    def __init__(self, person: Person, playbook: str, variables: dict) -> None:
        self.path = person.home / f"run-{secrets.token_hex(4)}.log"
        with open(self.path, "wb") as stream:
            self.process = subprocess.Popen(
                person.argv(playbook, **variables), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=person.cwd)

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8", errors="replace")

    def says(self, pattern: str, patience: float = PATIENCE) -> re.Match:
        """Wait until its output has what matches."""
        found = until(lambda: re.search(pattern, self.text) or self.process.poll() is not None, f"{pattern!r}", patience)
        assert found is not True, f"{pattern!r} was not said by the end:\n{self.text}"
        return found

    def end(self, patience: float = LONG) -> Run:
        """Wait for its end."""
        return _parse(self.process.wait(patience), self.text)


def identity(url: str) -> str | None:
    """Whose server answers at an address; None while none does."""
    try:
        return PROXYLESS.open(url + "api", timeout=5).headers.get("X-Jupyter-Session")
    except (OSError, urllib.error.URLError):
        return None


@contextlib.contextmanager
def full_queue(cluster: Cluster) -> Iterator[str]:
    """Both nodes taken whole by somebody else's job; its id."""
    job = cluster.shell("sbatch --parsable -N2 --exclusive -t 30 -o /dev/null --wrap 'sleep 1800'", "dave").strip()
    until(lambda: cluster.shell(f"squeue -h -j {job} -o %t", "dave").strip() == "R", "the nodes taken")
    try:
        yield job
    finally:
        cluster.shell(f"scancel {job}", "dave")
        until(lambda: not cluster.shell(f"squeue -h -j {job} -o %t", "dave", check=False).strip(), "the nodes free")


@contextlib.contextmanager
def fault(cluster: Cluster, host: str, verb: str, mend: str) -> Iterator[None]:
    """A fault of the cluster for the length of a block."""
    cluster.verb(host, verb)
    try:
        yield
    finally:
        # A scheduler may take its time to see a node again.
        until(lambda: cluster.verb(host, mend, check=False).returncode == 0, f"{host} mended", LONG)


def a_person(home: pathlib.Path, collections: str, cluster: Cluster, **variables) -> Person:
    """A laptop for carol."""
    made = Person(home, collections, cluster.inventory, {
        "jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD, "jupyter_walltime": "00:10:00", "jupyter_local_port": free_port(),
        **variables})
    made.cluster = cluster
    return made


@pytest.fixture(scope="module")
def set_up(cluster: Cluster, collections: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Carol's account, set up once for a module of tests."""
    cluster.clear()
    made = a_person(tmp_path_factory.mktemp("laptop"), collections, cluster)
    made.run("setup").succeeded()
    cluster.shell("cp -a ~/.jupyter ~/jupyter-as-set-up")
    yield made
    cluster.clear()


@pytest.fixture
def person(set_up: Person, cluster: Cluster, collections: str, tmp_path: pathlib.Path) -> Iterator[Person]:
    """A new laptop of carol, whose account has no session yet."""
    made = a_person(tmp_path, collections, cluster)
    # The authority of the account's certificate.
    made.environment["XDG_DATA_HOME"] = set_up.environment["XDG_DATA_HOME"]
    yield made
    cluster.shell("scancel --full -u carol", "root", check=False)
    for tunnel in (tmp_path / ".local/state/hpc.jupyter/tunnels").glob("*.json"):
        known = json.loads(tunnel.read_text())
        keeper = tunnel.with_suffix(".keeper")
        if keeper.exists() and known.get("keep"):
            tunnel.write_text(json.dumps(dict(known, keep=False)))
            subprocess.run(["kill", keeper.read_text().strip()], check=False, capture_output=True)
        control = tunnel.with_suffix(".ctl")
        if control.exists():
            subprocess.run(["ssh", "-F", "none", "-S", str(control), "-O", "exit", "x"], check=False, capture_output=True, timeout=20)
    until(lambda: not cluster.jobs(), "the end of carol's jobs", LONG)
    cluster.shell("rm -rf ~/.jupyter; cp -a ~/jupyter-as-set-up ~/.jupyter; rm -rf /tmp/jupyter-$(id -u)-*")


# -- the table of docs/faults.md --------------------------------------------------------------

FAULTS = ROOT / ".build" / "faults"


def record(fault_name: str, sees: str, left: str, then: str) -> None:
    """Keep what came of a fault, for tools/faults-table."""
    FAULTS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", fault_name.lower()).strip("-")
    (FAULTS / f"{name}.json").write_text(json.dumps({"fault": fault_name, "sees": _plain(sees), "left": left, "then": then}), encoding="utf-8")


def _plain(text: str) -> str:
    """A message without what differs from one run to the next."""
    text = re.sub(r"\bjob \d+", "job 42", text)
    text = re.sub(r"\bJob \d+", "Job 42", text)
    text = re.sub(r"127\.0\.0\.1:\d+|localhost:\d+", "127.0.0.1:8888", text)
    text = re.sub(r"local port \d+", "local port 8888", text)
    text = re.sub(r"has \d{4,5}\b", "has 8889", text)
    text = re.sub(r"\bnode[12]\b", "node1", text)
    text = re.sub(r"\b10\.\d+\.\d+\.\d+\b", "login", text)
    text = re.sub(r"\(after [^)]*\)", "", text)
    text = re.sub(r"/run/hpc-jupyter-cluster/\w+/", "", text)
    return " ".join(text.split())
