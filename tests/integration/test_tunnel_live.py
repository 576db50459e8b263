# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes, tunnels and the relay on a live cluster: real sshds, real jobs, a stand-in for Jupyter.

The cluster is the one that HPC_CLUSTER names (default: hpc); without it these tests fail. They live in a directory of
their own in carol's home and leave none of it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import secrets
import shlex
import signal
import socket
import subprocess
import time
import urllib.request

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import connect_launcher
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, route_choice, routes, tunnel
from ansible_collections.hpc.jupyter.plugins.plugin_utils.remote import program_sources
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection, as_posix

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLUSTER = [str(ROOT / "molecule" / "cluster" / "cluster"), "--name", os.environ.get("HPC_CLUSTER", "hpc")]
PATIENCE = 40.0


def until(condition, what, patience=PATIENCE):
    """Wait until a condition holds and return its value; fail when it never does.

    :param what: str, or a callable that says what was waited for and what was there instead.
    """
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {patience:g} s in vain for {what() if callable(what) else what}")
        time.sleep(0.1)


def tool(*arguments, check=True):
    """Run a verb of the cluster tool and return its output."""
    done = subprocess.run([*CLUSTER, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode:
        pytest.fail(f"cluster {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


@dataclasses.dataclass
class Site:
    """Carol's account on the cluster, with the program installed in a directory of its own."""

    ssh_config: str
    directory: str
    user: str = "carol"

    @property
    def connection(self) -> Connection:
        return Connection.from_arguments("login", None, None, f"-F {self.ssh_config}")

    @property
    def batch(self) -> str:
        return self.directory + "/batch"

    @property
    def launcher(self) -> str:
        return self.directory + "/connect"

    def ssh(self, command: str, data: bytes | None = None, host: str = "login") -> str:
        done = subprocess.run(
            ["ssh", "-F", self.ssh_config, "-o", "BatchMode=yes", host, command], input=data, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.decode()

    def put(self, path: str, data: bytes | str, mode: str = "600") -> None:
        data = data.encode() if isinstance(data, str) else data
        self.ssh(f"umask 077; mkdir -p {os.path.dirname(path)} && cat >{path}.new && chmod {mode} {path}.new && "
                 f"mv {path}.new {path}", data)

    def facts(self, **more) -> None:
        facts = {"version": 1, "scheduler": "slurm", "commands": {}, "python": "/usr/bin/python3", "resources": {}, "job": {}}
        self.put(self.batch + "/site.json", json.dumps(dict(facts, **more)))

    def processes(self, text: str, host: str = "login") -> list[str]:
        """Return the command lines of all processes of a host that hold a text, seen as root."""
        lines = tool("exec", host, "--", "ps", "-eww", "-o", "pid=,args=").splitlines()
        return [line for line in lines if text in line]


@dataclasses.dataclass
class Fake:
    """A session that runs the stand-in."""

    site: Site
    name: str
    id: str
    relay_dir: str
    job: str = ""

    @property
    def directory(self) -> str:
        return f"{self.site.batch}/sessions/{self.name}"

    def record(self, **more) -> None:
        record = {"version": 1, "session": self.name, "id": self.id, "scheduler": "slurm", "job": self.job or None, "jobs": [],
                  "successor": None, "resources": {}, "submitted": 1.0, "renewals_left": 0, "relay_dir": self.relay_dir}
        self.site.put(self.directory + "/record.json", json.dumps(dict(record, **more)))

    def submit(self, node: str = "node1", arguments: str = "socket") -> dict:
        """Run the stand-in as a job and return its server.json once it listens."""
        self.job = ""
        self.record()
        self.site.ssh(f"rm -f {self.directory}/server.json")
        command = f"exec python3 {self.site.directory}/fake_server.py {self.directory} {arguments}"
        self.job = self.site.ssh(
            f"sbatch --parsable -w {node} -n1 --mem=100 -o {self.directory}/server.log --wrap {shlex.quote(command)}"
        ).strip()
        self.record()
        return until(self.server, "the stand-in")

    def server(self) -> dict | None:
        text = self.site.ssh(f"cat {self.directory}/server.json 2>/dev/null || true")
        facts = json.loads(text) if text.strip() else {}
        return facts if facts.get("job") == self.job else None

    def target(self) -> routes.Target:
        facts = self.server()
        return routes.Target.from_answer(dict(facts, relay_dir=self.relay_dir, connect=self.site.launcher))

    def cancel(self) -> None:
        if self.job:
            self.site.ssh(f"scancel {self.job} || true")


@pytest.fixture(scope="session")
def site(request):
    request.getfixturevalue("cluster")
    config = tool("ssh-config").strip()
    made = Site(config, f"/home/carol/.live-{secrets.token_hex(4)}")
    import io
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("__main__.py", "import sys\nfrom hpc_jupyter.program import command_line\nsys.exit(command_line(sys.argv[1:]))\n")
        for path, text in program_sources().items():
            archive.writestr("hpc_jupyter/" + path, text)
    made.put(made.batch + "/program.pyz", stream.getvalue())
    made.put(made.launcher, connect_launcher.render("/usr/bin/python3", made.batch + "/program.pyz", made.batch), "700")
    made.put(made.directory + "/fake_server.py", pathlib.Path(__file__).with_name("fake_server.py").read_bytes())
    made.facts()
    yield made
    made.ssh(f"rm -rf {made.directory}")


@pytest.fixture
def fake(site):
    made = Fake(site, "t" + secrets.token_hex(3), secrets.token_hex(16), "/tmp/jupyter-live-" + secrets.token_hex(6))
    yield made
    made.cancel()
    site.ssh(f"rm -rf {made.directory} {made.relay_dir}")


@pytest.fixture
def state(tmp_path):
    return laptop.State(tmp_path / "state")


@pytest.fixture
def held(site, fake, state):
    made = tunnel.Tunnel(site.connection, fake.name, state)
    yield made
    made.close()


def free_port() -> int:
    return laptop.choose_port(20000 + secrets.randbelow(20000))


class Terminal:
    """A person's terminal on the laptop: runs the emitted command string itself in a shell."""

    def __init__(self, command: str):
        # exec: the shell's pid is ssh's, for the tests that kill it.
        self.process = subprocess.Popen(
            ["sh", "-c", "exec " + command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            # Ctrl-C ends what a person runs; tests that run in the background of a shell were told to ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.lines: list[str] = []
        os.set_blocking(self.process.stdout.fileno(), False)

    def output(self) -> str:
        while True:
            line = self.process.stdout.readline()
            if not line:
                return "".join(self.lines)
            self.lines.append(line)

    def until(self, text: str) -> None:
        until(lambda: text in self.output() or self.process.poll() is not None, lambda: f"{text!r} in {self.output()!r}")
        assert text in self.output(), (self.process.returncode, self.output())

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def terminal():
    opened = []

    def run(argv):
        opened.append(Terminal(as_posix(argv)))
        return opened[-1]

    yield run
    for each in opened:
        each.end()


def get(port: int, path: str = "/api") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode().strip()


def no_trace(site, fake):
    """Wait until the login node has neither process nor socket of a session's relays."""
    until(lambda: not site.processes(fake.relay_dir), lambda: f"no process: {site.processes(fake.relay_dir)}")
    left = site.ssh(f"ls -A {fake.relay_dir} 2>/dev/null || true").split()
    assert left == []


# -- the relay -----------------------------------------------------------------------------


def test_the_relay_command_itself_leads_to_the_node(site, fake, terminal):
    fake.submit("node2")
    port = free_port()
    shell = terminal(routes.plan("relay", site.connection, fake.target(), port, "abcdef01"))
    shell.until("connected to node2")
    assert get(port) == "node2"
    modes = site.ssh(f"stat -c '%a %U %F' {fake.relay_dir} {fake.relay_dir}/*.sock").splitlines()
    assert modes == ["700 carol directory", "600 carol socket"]
    shell.process.terminate()
    no_trace(site, fake)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_relay_ends_with_its_laptop_even_with_connections_open(site, fake, terminal, number):
    fake.submit()
    port = free_port()
    shell = terminal(routes.plan("relay", site.connection, fake.target(), port, "abcdef01"))
    shell.until("connected")
    with socket.create_connection(("127.0.0.1", port)) as kernel:
        kernel.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in kernel.recv(100)
        assert site.processes(fake.relay_dir)
        os.kill(shell.process.pid, number)
        no_trace(site, fake)


def test_a_killed_relay_takes_its_second_hop_along(site, fake, terminal):
    fake.submit()
    shell = terminal(routes.plan("relay", site.connection, fake.target(), free_port(), "abcdef01"))
    shell.until("connected")
    relay = [line.split()[0] for line in site.processes(fake.relay_dir) if "program.pyz" in line and "python" in line]
    tool("exec", "login", "--", "kill", "-9", *relay)
    until(lambda: not site.processes(fake.relay_dir), "no process left")
    assert shell.process.wait(10) != 0


def test_a_relay_follows_the_session_to_its_next_node(site, fake, terminal):
    fake.submit("node1")
    port = free_port()
    shell = terminal(routes.plan("relay", site.connection, fake.target(), port, "abcdef01"))
    shell.until("connected to node1")
    first = fake.job
    fake.submit("node2")
    site.ssh(f"scancel {first}")
    shell.until("moved to node2")
    assert get(port) == "node2"


def test_a_relay_says_that_the_session_is_over(site, fake, terminal):
    fake.submit()
    shell = terminal(routes.plan("relay", site.connection, fake.target(), free_port(), "abcdef01"))
    shell.until("connected")
    fake.cancel()
    assert shell.process.wait(PATIENCE) == 3
    assert "is over" in shell.output()
    no_trace(site, fake)


def test_a_relay_waits_for_a_queued_session(site, fake, terminal):
    fake.submit()
    target = fake.target()
    fake.cancel()
    fake.job = site.ssh(f"sbatch --parsable --hold -w node1 -n1 --mem=100 -o {fake.directory}/server.log --wrap "
                        f"'exec python3 {site.directory}/fake_server.py {fake.directory}'").strip()
    site.ssh(f"rm -f {fake.directory}/server.json")
    fake.record()
    port = free_port()
    shell = terminal(routes.plan("relay", site.connection, target, port, "abcdef01"))
    shell.until("is queued")
    site.ssh(f"scontrol release {fake.job}")
    shell.until("connected to node1")
    assert get(port) == "node1"


def test_two_laptops_share_a_session_and_one_laptop_takes_its_relay_over(site, fake, terminal):
    fake.submit()
    target = fake.target()
    one, two, again = free_port(), free_port(), free_port()
    first = terminal(routes.plan("relay", site.connection, target, one, "aaaaaaaa"))
    second = terminal(routes.plan("relay", site.connection, target, two, "bbbbbbbb"))
    first.until("connected")
    second.until("connected")
    third = terminal(routes.plan("relay", site.connection, target, again, "aaaaaaaa"))
    third.until("connected")
    assert first.process.wait(10) == 0
    assert get(two) == get(again) == "node1"


def test_a_session_that_does_not_run_is_said_so(site, fake, terminal):
    fake.submit()
    target = fake.target()
    site.ssh(f"rm {fake.directory}/*.json")
    shell = terminal(routes.plan("relay", site.connection, target, free_port(), "abcdef01"))
    assert shell.process.wait(PATIENCE) == 4
    assert "--start" in shell.output()


@pytest.mark.parametrize("trap", ["ln -s /tmp {0}", "mkdir -m 777 {0}", "mkdir -m 700 {0}"])
def test_a_directory_that_somebody_else_made_first_is_refused(site, fake, terminal, trap):
    fake.submit()
    tool("run-as", "dave", "login", "--", "sh", "-c", trap.format(fake.relay_dir))
    shell = terminal(routes.plan("relay", site.connection, fake.target(), free_port(), "abcdef01"))
    assert shell.process.wait(PATIENCE) == 6
    assert "somebody else was there first" in shell.output()
    tool("run-as", "dave", "login", "--", "rm", "-rf", fake.relay_dir)


def test_an_unknown_host_key_of_a_node_is_never_waved_through(site, fake, terminal):
    fake.submit()
    known = site.ssh("cat ~/.ssh/config 2>/dev/null || true")
    site.facts(second_hop="ssh")
    try:
        # The node's key is known by name; under another set of files it is not.
        site.put("/home/carol/.ssh/config", "Host node*\n  UserKnownHostsFile /dev/null\n  GlobalKnownHostsFile /dev/null\n" + known)
        shell = terminal(routes.plan("relay", site.connection, fake.target(), free_port(), "abcdef01"))
        assert shell.process.wait(PATIENCE) == 5
        assert "Log in once by hand here and check the key: 'ssh node1'" in shell.output()
        site.facts(second_hop="ssh", node_host_keys="accept-new")
        terminal(routes.plan("relay", site.connection, fake.target(), free_port(), "abcdef02")).until("connected to node1")
    finally:
        site.facts()
        site.put("/home/carol/.ssh/config", known) if known else site.ssh("rm ~/.ssh/config")


def test_where_nodes_take_no_ssh_a_step_of_the_job_carries_it(site, fake, terminal):
    fake.submit("node2")
    site.facts(second_hop="step")
    try:
        port = free_port()
        shell = terminal(routes.plan("relay", site.connection, fake.target(), port, "abcdef01"))
        shell.until("connected to node2")
    finally:
        site.facts()
    body = secrets.token_bytes(3_000_000)
    for _round in range(3):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/echo", data=body)
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.read() == body
    os.kill(shell.process.pid, signal.SIGKILL)
    no_trace(site, fake)
    until(lambda: not site.processes("second_hop", "node2"), "no step left on the node")


def test_the_command_alone_starts_a_session(site, fake, terminal):
    site.put(site.directory + "/config/jupyter_server_config.json", json.dumps({"PasswordIdentityProvider": {"hashed_password": "x"}}))
    script = f"#!/bin/sh\nJUPYTER_SESSION=default\nexec python3 {site.directory}/fake_server.py {site.batch}/sessions/$JUPYTER_SESSION\n"
    for name in ("jupyter.slurm", "keeper.py"):
        site.put(f"{site.batch}/{name}", script, "700")
    site.facts(job={"config_dir": site.directory + "/config"}, resources={"memory": "100M", "cores": 1, "walltime": "10:00"})
    port = free_port()
    try:
        argv = routes.plan_start(site.connection, fake.name, fake.relay_dir, port, "abcdef01", site.launcher)
        shell = terminal(argv)
        shell.until("connected to node")
        assert get(port).startswith("node")
        again = terminal([*argv[:argv.index("-L") + 1], argv[argv.index("-L") + 1].replace(str(port), str(free_port())), *argv[argv.index("-L") + 2:]])
        again.until("connected to node")
    finally:
        site.facts()
    jobs = site.ssh(f"squeue -h -o %i -n jupyter-{fake.name}").split()
    fake.job = jobs[0]
    assert len(jobs) == 1


# -- the other routes ----------------------------------------------------------------------


def test_the_jump_command_itself_leads_to_the_node(site, fake, terminal):
    fake.submit("node1")
    port = free_port()
    terminal(routes.plan("jump", site.connection, fake.target(), port))
    until(lambda: not laptop.port_is_free(port), "the local port")
    assert get(port) == "node1"


@pytest.fixture(scope="session")
def certificate(site, tmp_path_factory):
    """A certificate for 127.0.0.1 that is its own authority, on the cluster; the local path of its public part."""
    made = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=x",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made / "key", "-out", made / "ca.crt"],
        check=True, capture_output=True,
    )
    site.put(site.directory + "/tls.pem", (made / "ca.crt").read_bytes() + (made / "key").read_bytes())
    return str(made / "ca.crt")


@pytest.mark.parametrize(("route", "address"), [("direct", "node"), ("jump", "127.0.0.1"), ("relay", "127.0.0.1")])
def test_a_tls_endpoint_is_verified_through_each_route(site, fake, state, certificate, route, address):
    fake.submit("node1", f"tls {address} {site.directory}/tls.pem")
    held = tunnel.Tunnel(site.connection, fake.name, state, ca=certificate)
    try:
        opened = held.open(route, fake.target(), wanted=free_port())
        assert opened.url.startswith("https://127.0.0.1:")
        other = dataclasses.replace(fake.target(), fingerprint="0" * 64)
        assert held.verify(other).kind == "untrusted"
    finally:
        held.close()


def test_a_reverse_socket_on_the_login_node_is_reached(site, fake, held):
    facts = fake.submit("node1")
    path = f"{site.directory.replace('/home/carol/.', '/tmp/')}.sock"
    # What the job's own ssh does: it listens on the login node and leads back to its server.
    job = subprocess.Popen(
        ["ssh", "-F", site.ssh_config, "node1", f"exec ssh -N -o BatchMode=yes -o ExitOnForwardFailure=yes -R {path}:{facts['endpoint']['path']} login"])
    try:
        until(lambda: site.ssh(f"test -S {path} && echo there || true"), "the reverse socket")
        opened = held.open("reverse", dataclasses.replace(fake.target(), reverse_socket=path), wanted=free_port())
        assert get(opened.port) == "node1"
    finally:
        job.terminate()
        job.wait(10)
        site.ssh(f"rm -f {path}")
        for line in site.processes(path, "node1"):
            tool("exec", "node1", "--", "kill", line.split()[0])


# -- the laptop's tunnel -------------------------------------------------------------------


@pytest.mark.parametrize("route", ["relay", "jump"])
def test_opening_twice_is_opening_once(site, fake, held, route):
    fake.submit()
    target = fake.target()
    first = held.open(route, target)
    again = held.open(route, target)
    assert first.changed and not again.changed
    assert (first.pid, first.url) == (again.pid, again.url)
    assert get(first.port) == "node1"
    assert held.close() and not held.close()
    no_trace(site, fake)
    assert laptop.port_is_free(first.port)
    assert held.open(route, target).url == first.url


def test_a_hung_tunnel_is_noticed_and_replaced_at_the_same_address(site, fake, held):
    fake.submit()
    target = fake.target()
    first = held.open("jump", target, wanted=free_port())
    os.kill(first.pid, signal.SIGSTOP)
    again = held.open("jump", target)
    print(again)
    assert again.changed and again.url == first.url and again.pid != first.pid
    assert get(again.port) == "node1"


def test_a_port_in_use_gets_the_next_free_one_and_it_is_said(site, fake, held):
    fake.submit()
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        opened = held.open("jump", fake.target(), wanted=port)
    assert opened.port != port
    assert any(f"local port {port} is in use" in note for note in opened.notes)


def test_the_wrong_server_is_never_called_good(site, fake, held):
    fake.submit()
    target = dataclasses.replace(fake.target(), id="0" * 32)
    with pytest.raises(tunnel.TunnelError) as caught:
        held.open("jump", target)
    assert caught.value.cause == "wrong-server"
    assert not held.is_up()


def test_a_server_that_is_gone_is_told_from_a_way_that_is_closed(site, fake, held):
    fake.submit()
    target = dataclasses.replace(fake.target(), path="/tmp/jupyter-nothing/server.sock")
    with pytest.raises(tunnel.TunnelError) as caught:
        held.open("jump", target)
    assert caught.value.cause == "endpoint", caught.value.message


def test_a_session_that_is_over_ends_the_tunnel_with_that_word(site, fake, held):
    fake.submit()
    target = fake.target()
    fake.cancel()
    until(lambda: fake.job not in site.ssh("squeue -h -o %i"), "the end of the job")
    with pytest.raises(tunnel.TunnelError) as caught:
        held.open("relay", target)
    assert caught.value.cause in ("over", "not-running"), caught.value.message


def test_no_key_is_told_from_no_network(site, fake, state, tmp_path):
    fake.submit()
    target = fake.target()
    stranger = Connection.from_arguments("login", "dave", None, f"-F {site.ssh_config} -o IdentityFile=/dev/null -o IdentityAgent=none")
    with pytest.raises(tunnel.TunnelError) as caught:
        tunnel.Tunnel(stranger, fake.name, state).open("relay", target)
    assert caught.value.cause in ("auth", "node"), caught.value.message
    nowhere = Connection.from_arguments("127.0.0.1", "carol", 1)
    with pytest.raises(tunnel.TunnelError) as caught:
        tunnel.Tunnel(nowhere, fake.name, state).open("relay", target)
    assert caught.value.cause == "unreachable", caught.value.message


# -- a tunnel that is kept -----------------------------------------------------------------


def test_a_kept_tunnel_comes_back_at_the_same_address_until_the_session_ends(site, fake, held):
    fake.submit()
    opened = held.open("relay", fake.target(), wanted=free_port(), keep=True)
    keeper = until(held.keeper_pid, "the keeper")
    assert held.open("relay", fake.target(), keep=True).pid == opened.pid and held.keeper_pid() == keeper
    os.kill(opened.pid, signal.SIGKILL)

    def answers():
        return held.status()["pid"] not in (None, opened.pid) and held.verify(fake.target()).kind == "ours"

    until(answers, lambda: f"the tunnel: {pathlib.Path(held.state.keeper_log(held.key)).read_text()}")
    assert get(opened.port) == "node1"
    fake.cancel()
    until(lambda: held.keeper_pid() is None, "the keeper's end")
    until(lambda: not held.is_up(), "the tunnel's end")


def test_closing_a_kept_tunnel_ends_its_keeper(site, fake, held):
    fake.submit()
    opened = held.open("jump", fake.target(), wanted=free_port(), keep=True)
    until(held.keeper_pid, "the keeper")
    assert held.close()
    assert held.keeper_pid() is None and laptop.port_is_free(opened.port)
    no_trace(site, fake)


def test_a_kept_jump_follows_the_session_to_its_next_node(site, fake, held):
    fake.submit("node1")
    opened = held.open("jump", fake.target(), wanted=free_port(), keep=True)
    until(held.keeper_pid, "the keeper")
    first = fake.job
    fake.submit("node2")
    site.ssh(f"scancel {first}")

    def moved():
        try:
            return get(opened.port) == "node2"
        except OSError:
            return False

    until(moved, lambda: f"node2: {pathlib.Path(held.state.keeper_log(held.key)).read_text()}", patience=60)


# -- auto ----------------------------------------------------------------------------------


def program_for(site, fake):
    """Call a verb of the installed program, as the action does."""

    def call(verb, **more):
        request = json.dumps(dict(more, verb=verb, batch_dir=site.batch, session=fake.name))
        code = f"import sys; sys.path.insert(0, {site.batch + '/program.pyz'!r}); from hpc_jupyter import program; program.main(sys.argv[1], 'ANSWER:')"
        answer = site.ssh(f"python3 -c {shlex.quote(code)} {shlex.quote(request)}")
        return json.loads(answer.rpartition("ANSWER:")[2])

    return call


def test_auto_finds_the_relay_in_seconds_and_remembers_it(site, fake, state):
    fake.submit()
    begun = time.monotonic()
    choice = route_choice.choose(program_for(site, fake), site.connection, fake.target(), state)
    assert time.monotonic() - begun < 8
    assert choice.route == "relay" and not choice.remembered
    assert choice.routes["relay"].works and choice.routes["jump"].works, choice

    def never(verb):
        raise AssertionError("asked again")

    again = route_choice.choose(never, site.connection, fake.target(), state)
    assert again.route == "relay" and again.remembered


def test_auto_takes_the_step_where_login_has_no_key_for_the_nodes(site, fake, state):
    fake.submit()
    site.ssh("printf 'Host node*\\n  IdentityFile /dev/null\\n  IdentitiesOnly yes\\n' >~/.ssh/config")
    try:
        choice = route_choice.choose(program_for(site, fake), site.connection, fake.target(), state)
    finally:
        site.ssh("rm ~/.ssh/config")
    assert (choice.route, choice.routes["relay"].how) == ("relay", "step"), choice


def test_where_nothing_is_permitted_each_reason_is_told(site, fake, state):
    fake.submit()
    nowhere = Connection.from_arguments("login", "dave", None, f"-F {site.ssh_config} -o IdentityFile=/dev/null -o IdentitiesOnly=yes")
    stranger = dataclasses.replace(nowhere, options=(*nowhere.options, ("o", "PubkeyAuthentication=no")))
    begun = time.monotonic()
    with pytest.raises(route_choice.NoRoute, match="relay: .*jump: .*Permission denied"):
        route_choice.choose(program_for(site, fake), stranger, fake.target(), state)
    assert time.monotonic() - begun < 12
