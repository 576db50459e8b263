# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dave, another user of the cluster, attacks carol's live sessions; docs/security.md says what he must not get.

Each attack is also made against something careless of carol's own, where it has to succeed: a test that can't fail proves
nothing. Carol's account is as bad as accounts get: umask 000, a home that all can read, a Jupyter configuration that switches
every protection off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.parse
from collections.abc import Iterator

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import http_probe
from harness import HERE, Cluster, Controller, Run, free_port, typed, until
from kernel_client import Jupyter
from users import attack, home_of, running
from wire import CommandLines, recorded, watched

PASSWORD = "Xq7-every-secret-of-carols"
COOKIE = "username-"
CARELESS_PORT = 8765
OPEN_TMP = "/var/tmp/open-to-all"
# Hers, and where her careless one runs.
NODE, CARELESS_NODE = "node1", "node2"
# Each of them opens a plain `jupyter server`; none may open ours.
CARELESS_CONFIG = f"""\
c.ServerApp.ip = "0.0.0.0"
c.ServerApp.port = {CARELESS_PORT}
c.ServerApp.token = ""
c.IdentityProvider.token = ""
c.PasswordIdentityProvider.hashed_password = ""
c.PasswordIdentityProvider.token = ""
c.ServerApp.allow_unauthenticated_access = True
c.ServerApp.allow_remote_access = True
c.ServerApp.allow_origin = "*"
c.ServerApp.disable_check_xsrf = True
c.ServerApp.open_browser = False
c.KernelManager.transport = "tcp"
"""


@dataclasses.dataclass
class Siege:
    """Carol's two sessions, what was seen while they were made, and the careless server beside them."""

    cluster: Cluster
    laptop: Controller
    setup: Run
    sessions: dict[str, dict]
    lines: CommandLines
    raced_port: int
    careless_port: int = 0
    secrets: dict[str, str] = dataclasses.field(default_factory=dict)

    def shell(self, script: str, user: str = "carol", host: str = "login", check: bool = True) -> str:
        return self.cluster.shell(script, user, host, check)

    def read(self, path: str) -> str:
        return self.cluster.verb("exec", "login", "--", "cat", f"/home/carol/.jupyter/{path}").stdout

    def patterns(self, **more: str) -> str:
        """Put the secrets where an attack finds them, and nothing else does; return the path."""
        path = home_of(self.cluster, "dave") / "patterns.json"
        path.write_text(json.dumps({**self.secrets, **more}), encoding="utf-8")
        path.chmod(0o644)
        return "/home/dave/patterns.json"

    def command(self, session: str, route: str) -> dict:
        """What a person types for a session by a route, with a local port of this test's own."""
        return self.laptop.run(
            "connect", jupyter_session=session, jupyter_route=route, jupyter_local_port=free_port()).succeeded().of("session")["tunnel"]


def collect_secrets(read, authority: pathlib.Path) -> dict[str, str]:
    config = json.loads(read("batch/sessions/default/config/jupyter_server_config.json"))
    hashed = json.loads(read("jupyter_server_config.json"))["PasswordIdentityProvider"]["hashed_password"]
    pem = [line for line in read("hpc-jupyter.key").splitlines() if not line.startswith("-")]
    return {
        "password": PASSWORD,
        "hash": hashed.split("$")[-1],
        "token": config["PasswordIdentityProvider"]["token"],
        "cookie secret": read("batch/sessions/default/cookie_secret").strip(),
        "key of the certificate": pem[1],
        "key of the authority": (authority.parent / "ca.key").read_text().splitlines()[1],
    }


def race(cluster: Cluster, stop: threading.Event, ports: list[int]) -> None:
    """Tell dave's impostors the first port that the keeper of the session "direct" chooses, at once.

    He could not know it. He could take most of a node's ports and hope; here he is told, so that he wins every time.
    """
    server = home_of(cluster, "carol") / ".jupyter/batch/sessions/direct/server.json"
    while not stop.wait(0.002):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            ports.append(json.loads(server.read_text())["endpoint"]["port"])
            (home_of(cluster, "dave") / "port").write_text(f"{ports[0]}\n")
            return


@pytest.fixture(scope="module")
def siege(cluster: Cluster, collections: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    home = tmp_path_factory.mktemp("laptop")
    cluster.clear()
    cluster.clear("dave")
    laptop = Controller(home, collections, cluster.inventory, {
        "jupyter_modules": ["jupyterlab"], "jupyter_walltime": "00:10:00", "jupyter_environment": {"TMPDIR": OPEN_TMP},
        "jupyter_batch_options": [f"--nodelist={NODE}"]},
        environment={
            "ANSIBLE_LOG_PATH": f"{home}/ansible.log", "ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": f"{home}/facts",
            "ANSIBLE_RETRY_FILES_ENABLED": "1", "ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_SSH_ARGS": "-o ControlMaster=no"})
    given = home / "secret-vars.json"
    given.write_text(json.dumps({"jupyter_password": PASSWORD}))
    given.chmod(0o600)
    cluster.shell(f"""
        printf 'umask 000\\n' >~/.bashrc; cp ~/.bashrc ~/.profile; chmod 755 ~
        umask 000; mkdir ~/.jupyter; cat >~/.jupyter/jupyter_server_config.py <<'END'\n{CARELESS_CONFIG}END
        printf '{{"ServerApp": {{"password": ""}}}}' >~/.jupyter/jupyter_server_config.json""")
    cluster.shell(f"mkdir -p {OPEN_TMP}; chmod 777 {OPEN_TMP}", "root", NODE)
    cluster.shell("cd; openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
                  " -keyout both.pem -out crt.pem -days 2 2>/dev/null && cat crt.pem >>both.pem", "dave")
    (home_of(cluster, "dave") / "impostor.py").write_text((HERE / "attacks" / "impostor.py").read_text())
    stop, ports = threading.Event(), []
    racer = threading.Thread(target=race, args=(cluster, stop, ports), daemon=True)
    with contextlib.ExitStack() as stack:
        # The careless one runs before setup: the password that setup puts there would save it.
        stack.enter_context(running(
            cluster, "carol", CARELESS_NODE,
            "module load jupyterlab; mkdir -p ~/careless; cd ~/careless; export JUPYTER_CONFIG_DIR=~/.jupyter HOME=$PWD; exec jupyter server",
            home / "careless.log"))
        until(lambda: attack(cluster, CARELESS_NODE, "prowl.py", cluster.shell("id -u").strip()), "the careless server")
        stack.enter_context(running(
            cluster, "dave", NODE, "cd; exec python3 impostor.py 0.0.0.0 ~/port ~/taken ~/both.pem", home / "impostor.log"))
        racer.start()
        with watched() as lines:
            setup = laptop.run("setup", "-vvvvv", "--diff", "-e", f"@{given}").succeeded()
            default = laptop.run("launch", "-vvvvv", jupyter_local_port=free_port()).succeeded().of("session")
            direct = laptop.run("launch", jupyter_session="direct", jupyter_route="direct", jupyter_local_port=free_port()).succeeded().of("session")
        made = Siege(cluster, laptop, setup, {"default": default, "direct": direct}, lines, ports[0])
        made.secrets = collect_secrets(made.read, laptop.authority)
        yield made
        stop.set()
    cluster.clear()
    cluster.clear("dave")


# -- ports and sockets -----------------------------------------------------------------------


@pytest.fixture
def cells(siege, tmp_path) -> Iterator[dict]:
    """A kernel in each session and in the careless server: their own ports and sockets are prey, too."""
    with contextlib.ExitStack() as stack:
        clients = {}
        for name, session in siege.sessions.items():
            tunnel = session["tunnel"]
            stack.enter_context(typed(tunnel, tmp_path / f"{name}.log"))
            clients[name] = Jupyter(tunnel["url"], PASSWORD, str(siege.laptop.authority))
            clients[name].run("print(1)", keep=True)
        stack.enter_context(typed(careless(siege), tmp_path / "careless.log"))
        clients["careless"] = Open(f"http://127.0.0.1:{siege.careless_port}/", PASSWORD)
        clients["careless"].run("print(1)", keep=True)
        yield clients
        for client in clients.values():
            for kernel in client.api("GET", "api/kernels"):
                client.api("DELETE", f"api/kernels/{kernel['id']}")


class Open(Jupyter):
    """A browser at a server that lets everybody in. A person types the password there all the same."""

    def _log_in(self, password: str) -> None:
        self.opener.open(self.url + "api/contents?content=0", timeout=30).read()
        with contextlib.suppress(urllib.error.HTTPError):
            self.opener.open(self.url + "login", urllib.parse.urlencode({"password": password}).encode(), timeout=30)


def careless(siege: Siege) -> dict:
    """A tunnel to the careless server, as a person would type it."""
    siege.careless_port = free_port()
    return {
        "command": f"ssh -F {siege.cluster.ssh_config} -N -L 127.0.0.1:{siege.careless_port}:{CARELESS_NODE}:{CARELESS_PORT} login",
        "url": f"http://127.0.0.1:{siege.careless_port}/",
    }


def test_no_port_and_no_socket_of_hers_lets_another_user_in(siege, cells):
    carol = siege.shell("id -u").strip()
    found = {host: {one.pop("where"): one for one in attack(siege.cluster, host, "prowl.py", carol)} for host in ("login", NODE, CARELESS_NODE)}
    # The careless one lets him in, and a port of its kernel tells him all that it computes.
    assert found[CARELESS_NODE][f"127.0.0.1 port {CARELESS_PORT}"]["entered"]
    assert {one["zmq"] for one in found[CARELESS_NODE].values()} & {"PUB", "XPUB"}, found
    assert found["login"] == {}
    endpoint = siege.sessions["direct"]["endpoint"]
    assert found[NODE].pop(f"{endpoint['address']} port {endpoint['port']}") == {"entered": False, "zmq": None}
    # Each ipykernel takes what its child processes print at a port, from those who know its random name, and tells nothing there.
    assert len(found[NODE]) <= 2 and {(one["entered"], one["zmq"]) for one in found[NODE].values()} <= {(False, "PULL")}, found[NODE]


def test_the_socket_and_its_directory_are_hers_alone_and_where_nobody_can_replace_them(siege):
    session = siege.sessions["default"]
    path = session["endpoint"]["path"]
    seen = siege.shell(f"stat -c '%a %U %F' {path} $(dirname {path})", "root", NODE).splitlines()
    assert seen == ["600 carol socket", "700 carol directory"]
    # The job's TMPDIR is a directory in which everybody may rename everything: a careless program is robbed there.
    assert not path.startswith(OPEN_TMP)
    siege.shell(f"umask 077; TMPDIR={OPEN_TMP} mktemp -d -t jupyter-XXXXXXXX >~/naive", "carol", NODE)
    naive = siege.shell("cat ~/naive").strip()
    steal = "mv {0} {0}.old && mkdir -m 700 {0}"
    siege.shell(steal.format(naive), "dave", NODE)
    assert siege.shell(f"stat -c %U {naive}", "root", NODE).strip() == "dave"
    assert siege.shell(steal.format(os.path.dirname(path)) + " && echo stolen", "dave", NODE, check=False) == ""


def test_a_port_that_somebody_else_takes_first_is_given_up(siege):
    session = siege.sessions["direct"]
    taken = (home_of(siege.cluster, "dave") / "taken").read_bytes()
    assert taken.startswith(b"listening"), "dave did not win the race"
    assert session["endpoint"]["port"] != siege.raced_port
    assert "taken" in siege.read("batch/sessions/direct/server.log")
    # Who asks without looking at the certificate takes the impostor for a server that is ready.
    anyone = http_probe.ask(("127.0.0.1", forwarded(siege, NODE, siege.raced_port)), session["id"], "/", tls=True, timeout=5)
    assert anyone.kind in ("untrusted", "other")


_FORWARDS: list[subprocess.Popen] = []


def forwarded(siege: Siege, node: str, port: int) -> int:
    """Return a local port that leads to a port of a node."""
    local = free_port()
    _FORWARDS.append(subprocess.Popen(
        ["ssh", "-F", siege.cluster.ssh_config, "-N", "-L", f"127.0.0.1:{local}:{node}:{port}", "login"], stdin=subprocess.DEVNULL))

    def connects() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", local), 1).close()
            return True
        return False

    until(connects, "the forward")
    return local


@pytest.fixture(autouse=True)
def _no_forwards_left():
    yield
    while _FORWARDS:
        process = _FORWARDS.pop()
        process.terminate()
        process.wait()


# -- the wire --------------------------------------------------------------------------------


@pytest.mark.parametrize("session, route", [
    ("default", "relay"), ("default", "jump"), ("default", "reverse"), ("direct", "direct"), ("direct", "relay"), ("careless", "plain")])
def test_nothing_secret_is_readable_on_the_wire(siege, tmp_path, session, route):
    name = siege.cluster.name
    with recorded(f"{name}-login", f"{name}-laptop") as wire:
        tunnel = careless(siege) if session == "careless" else reverse(siege) if route == "reverse" else siege.command(session, route)
        with typed(tunnel, tmp_path / "ssh.log"):
            kind = Open if session == "careless" else Jupyter
            client = kind(tunnel["url"], PASSWORD, str(siege.laptop.authority))
            assert client.run("# in-the-source\nprint('in-the-' + 'output')").strip() == "in-the-output"
        cookies = [cookie.value for cookie in client.jar if cookie.name.startswith(COOKIE)]
    assert cookies and wire.size > 10000
    shown = [secret for secret in (PASSWORD, cookies[0], "in-the-source", "in-the-output") if wire.shows(secret)]
    assert len(shown) == (4 if session == "careless" else 0), shown


def reverse(siege: Siege) -> dict:
    """Order the job's own ssh to the login node, and return the tunnel to the socket that it makes there."""
    record = json.loads(siege.read("batch/sessions/default/record.json"))
    path = record["relay_dir"] + "/reverse.sock"
    siege.shell(f"""umask 077; printf '{{"reverse": {{"host": "login", "socket": "{path}"}}}}' >~/.jupyter/batch/sessions/default/control.json""")
    until(lambda: (json.loads(siege.read("batch/sessions/default/server.json")).get("reverse") or {}).get("state") == "up", "the way back")
    port = free_port()
    return {"command": f"ssh -F {siege.cluster.ssh_config} -a -x -N -L 127.0.0.1:{port}:{path} login", "url": f"http://127.0.0.1:{port}/"}


# -- files, processes, the scheduler ---------------------------------------------------------

PLACES = ("/home/carol", "/tmp", "/var/tmp", "/dev/shm", "/run", "/var/spool", "/var/log", "processes")
RECORDS = "for j in $(squeue -h -o %i); do scontrol show job -dd $j; scontrol write batch_script $j -; qstat -f $j; done; squeue -o %all"


@pytest.fixture
def careless_job(siege) -> Iterator[str]:
    """What people do: the password in the job's comment, in its script, in its environment, in the arguments of a process."""
    siege.shell(f"""umask 022; mkdir -p ~/notes; echo 'careless-file' >~/notes/mine; cd ~/notes
        export MINE=careless-environment
        sbatch -w {NODE} -n1 --mem=50 --comment=careless-comment --wrap 'echo careless-script; bash -c "read line; : careless-argument" </dev/zero' """)
    until(lambda: "careless-argument" in siege.shell("ps -eww -o args", "dave", NODE), "the careless job")
    yield "careless-"
    siege.shell("scancel -u carol --name=wrap; rm -rf ~/notes")


def test_another_user_finds_no_secret_of_hers_on_any_host(siege, careless_job):
    patterns = siege.patterns(file="careless-file", argument="careless-argument", comment="careless-comment")
    found = [one for host in ("login", NODE) for one in attack(siege.cluster, host, "rummage.py", patterns, *PLACES, "!" + RECORDS)]
    assert {secret for secret, _where in found} == {"file", "argument", "comment"}, found
    assert siege.shell("stat -c %a ~").strip() == "755"


def test_neither_the_scheduler_nor_any_process_of_hers_holds_a_secret(siege, careless_job):
    # Root sees what is not for others, and where it would lie for good: spool files, environments.
    patterns = siege.patterns(environment="careless-environment", script="careless-script")
    found = [one for host in ("login", NODE) for one in attack(
        siege.cluster, host, "rummage.py", patterns, "processes", "/var/spool", "/var/log", "!" + RECORDS, user="root")]
    assert {secret for secret, _where in found} == {"environment", "script"}, found


def test_no_command_line_ever_held_a_secret(siege):
    assert any(b"keeper.py" in line for line in siege.lines.seen) and any(b"ansible-playbook" in line for line in siege.lines.seen)
    for name, secret in siege.secrets.items():
        assert not siege.lines.showing(secret), name
    with watched() as lines:
        siege.laptop.run("status", jupyter_password="careless-password").succeeded()
    assert lines.showing("careless-password")


def test_an_umask_of_nothing_and_open_files_loosen_nothing(siege):
    siege.shell("touch ~/made-by-hand")
    loose = siege.shell(r"find ~ -path ~/.ssh -prune -o -path ~/careless -prune -o -perm /022 ! -type l -printf '%P\n'").split()
    mine = {".bashrc", ".profile", ".jupyter/jupyter_server_config.py", "naive", "made-by-hand"}
    assert "made-by-hand" in loose and set(loose) <= mine, loose
    open_to_read = siege.shell(r"find ~/.jupyter -type f -perm /044 ! -name '*.py' -printf '%P\n'").split()
    assert open_to_read == []


# -- Ansible's own traces --------------------------------------------------------------------


def traces(siege: Siege, *outputs: str) -> set[str]:
    """Return the names of the secrets that Ansible showed or left on the laptop, besides where they belong."""
    home = siege.laptop.home
    own = {home / "secret-vars.json", siege.laptop.authority.parent / "ca.key"}
    texts = [text.encode() for text in outputs]
    texts += [path.read_bytes() for path in home.rglob("*") if path.is_file() and path not in own]
    return {name for name, secret in siege.secrets.items() if any(secret.encode() in text for text in texts)}


def test_no_secret_is_in_what_ansible_shows_logs_caches_or_keeps(siege, tmp_path):
    assert "ESTABLISH SSH CONNECTION" in siege.setup.text and (siege.laptop.home / "ansible.log").stat().st_size > 1000
    shown = siege.setup.text + json.dumps(siege.setup.records)
    assert "jupyter_server_config.json" in shown  # the diff is there
    assert traces(siege, shown) == set()
    # What a playbook of one's own would show, with the same settings.
    (tmp_path / "careless.yml").write_text("""
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {mine: "{{ jupyter_password }}", cacheable: true}
    - ansible.builtin.copy: {content: "{{ jupyter_password }}", dest: "~/notes-of-mine"}
""")
    siege.laptop.run(str(tmp_path / "careless.yml"), "-vvvvv", "--diff", "-e", f"@{siege.laptop.home}/secret-vars.json").succeeded()
    try:
        assert traces(siege) == {"password"}
        assert PASSWORD in "".join(path.read_text() for path in (siege.laptop.home / "facts").iterdir())
        assert PASSWORD in (siege.laptop.home / "ansible.log").read_text()
        # And the files that it keeps on the login node, which ours does not make.
        assert siege.shell(f"grep -rl {PASSWORD} ~/.ansible ~/notes-of-mine").split()
    finally:
        siege.shell("rm -rf ~/.ansible ~/notes-of-mine")


# -- ssh -------------------------------------------------------------------------------------


def with_config(siege: Siege, directory: pathlib.Path, *changes: tuple[str, str], **environment) -> Controller:
    """The laptop with another ssh_config; ``changes`` are made in the text of the cluster's."""
    text = pathlib.Path(siege.cluster.ssh_config).read_text(encoding="utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (directory / "ssh_config").write_text(text)
    return Controller(directory, siege.laptop.environment["ANSIBLE_COLLECTIONS_PATH"], siege.cluster.inventory, {
        "ansible_ssh_common_args": f"-F {directory}/ssh_config", "jupyter_local_port": free_port()}, environment={
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=no", **environment})


def agents(siege: Siege) -> list[str]:
    """Agent sockets on the hosts, through which their root, and whoever gets to be carol there, could log in as carol elsewhere."""
    return [path for host in ("login", NODE) for path in siege.shell("ls -d /tmp/ssh-*/agent.* 2>/dev/null", "root", host, check=False).split()]


@pytest.mark.parametrize("route", ["relay", "jump"])
def test_the_agent_stays_at_home_though_the_configuration_lends_it(siege, tmp_path, route):
    agent = str(tmp_path / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: os.path.exists(agent), "the agent")
            environment = {"SSH_AUTH_SOCK": agent}
            subprocess.run(["ssh-add", "-q", f"{siege.cluster.state}/keys/carol"], env={**os.environ, **environment}, check=True)
            laptop = with_config(siege, tmp_path, ("ForwardAgent no", "ForwardAgent yes"), **environment)
            tunnel = laptop.run("connect", jupyter_route=route, ansible_ssh_extra_args="-A").succeeded().of("session")["tunnel"]
            tunnel["command"] = f"export SSH_AUTH_SOCK={agent}; {tunnel['command']}"
            until(lambda: not agents(siege), "the end of Ansible's own connection")
            with typed(tunnel, tmp_path / "ssh.log"):
                assert agents(siege) == []
            careless = subprocess.Popen(["ssh", "-F", f"{tmp_path}/ssh_config", "login", "cat"], stdin=subprocess.PIPE, env={**os.environ, **environment})
            until(lambda: agents(siege), "the agent on the login node")
            careless.communicate(timeout=20)
        finally:
            process.terminate()


def test_an_unknown_login_node_is_never_waved_through_and_nothing_is_written_into_known_hosts(siege, tmp_path):
    known = tmp_path / "known_hosts"
    known.touch()
    original = f"UserKnownHostsFile {siege.cluster.state}/known_hosts"
    laptop = with_config(siege, tmp_path, (original, f"UserKnownHostsFile {known}"))
    run = laptop.run("connect", jupyter_tunnel="open").failed()
    assert "Host key verification failed" in run.text
    command = siege.command("default", "relay")["command"]
    for word in ("StrictHostKeyChecking", "UserKnownHostsFile", "HostKeyAlgorithms", "CheckHostIP"):
        assert word not in command
    command = command.replace(siege.cluster.ssh_config, f"{tmp_path}/ssh_config")
    done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 255 and "Host key verification failed" in done.stderr
    assert known.read_text() == ""
    # With the check switched off it leads right there, whoever that is.
    loose = command.replace("ssh ", "ssh -o StrictHostKeyChecking=no ", 1)
    done = subprocess.run(["bash", "-c", loose], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and known.read_text(), done


def test_the_local_side_is_for_this_computer_alone(siege, tmp_path):
    def listening(port: int) -> list[str]:
        done = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], stdout=subprocess.PIPE, text=True, check=True)
        return sorted(line.split()[3] for line in done.stdout.splitlines())

    laptop = with_config(siege, tmp_path, ("Host login ", "Host *\n    GatewayPorts yes\n\nHost login "))
    tunnel = laptop.run("connect", jupyter_route="jump").succeeded().of("session")["tunnel"]
    with typed(tunnel, tmp_path / "ssh.log"):
        assert listening(tunnel["port"]) == [f"127.0.0.1:{tunnel['port']}"]
    port = free_port()
    careless = {"command": f"ssh -F {tmp_path}/ssh_config -N -L {port}:{siege.sessions['default']['endpoint']['path']} node1",
                "url": f"http://127.0.0.1:{port}/"}
    with typed(careless, tmp_path / "careless.log"):
        assert f"0.0.0.0:{port}" in listening(port)


# -- those who come first, and those who come after ------------------------------------------


@pytest.mark.parametrize("route", ["relay", "reverse"])
def test_a_directory_of_somebody_else_on_the_login_node_is_not_used(siege, tmp_path, route):
    """dave owns the directory in which the way to the session would put its socket, and listens there."""
    relay_dir = json.loads(siege.read("batch/sessions/default/record.json"))["relay_dir"]
    directory = relay_dir if route == "relay" else relay_dir + "-reverse"
    tunnel = siege.command("default", "relay") if route == "relay" else {"command": "", "url": ""}
    path = tunnel["command"].split()[-1] if route == "relay" else f"{directory}/reverse.sock"
    assert path.startswith(directory + "/")
    siege.shell(f"rm -rf {directory}")
    siege.shell(f"mkdir -m 777 {directory}; rm -f ~/taken-socket", "dave")
    with running(siege.cluster, "dave", "login", f"cd; exec python3 impostor.py {path} 0 ~/taken-socket", tmp_path / "impostor.log"):
        taken = home_of(siege.cluster, "dave") / "taken-socket"
        until(taken.exists, "dave's socket")
        # Who goes there without a look at the directory gives the password away.
        port = free_port()
        naive = {"command": f"ssh -F {siege.cluster.ssh_config} -N -L 127.0.0.1:{port}:{path} login", "url": f"http://127.0.0.1:{port}/"}
        with typed(naive, tmp_path / "naive.log"):
            Jupyter(naive["url"], PASSWORD)
        assert PASSWORD.encode() in taken.read_bytes()
        if route == "relay":
            done = subprocess.run(["bash", "-c", tunnel["command"]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 6 and "somebody else was there first" in done.stdout, done
        else:
            siege.shell(f"""umask 077; printf '{{"reverse": {{"host": "login", "socket": "{path}"}}}}' >~/.jupyter/batch/sessions/default/control.json""")
            until(lambda: "not a directory of yours alone" in str(json.loads(siege.read("batch/sessions/default/server.json")).get("reverse")), "a refusal")
            siege.shell("printf '{\"reverse\": null}' >~/.jupyter/batch/sessions/default/control.json")
    siege.shell(f"rm -rf {directory}", "dave")


def test_a_port_that_somebody_else_takes_over_gets_no_password(siege, tmp_path):
    """The server is gone, the tunnel is still there, and dave listens where the server did."""
    taken = home_of(siege.cluster, "dave") / "taken-over"
    session = siege.sessions["direct"]
    endpoint = session["endpoint"]
    authority = str(siege.laptop.authority)
    siege.shell("for i in $(seq 200); do mv ~/taken-over ~/old-$i 2>/dev/null; break; done", "dave")
    with typed(session["tunnel"], tmp_path / "ssh.log"):
        siege.shell(f"scancel --full {session['job']}")
        until(lambda: f":{endpoint['port']} " not in siege.shell("ss -Hltn", "root", NODE), "the port to be free")
        with running(siege.cluster, "dave", NODE, f"cd; exec python3 impostor.py {endpoint['address']} {endpoint['port']} ~/taken-over ~/both.pem",
                     tmp_path / "impostor.log"):
            until(taken.exists, "dave to listen")
            with pytest.raises(urllib.error.URLError) as refused:
                Jupyter(session["tunnel"]["url"], PASSWORD, authority)
            assert isinstance(refused.value.reason, ssl.SSLCertVerificationError)
            assert PASSWORD.encode() not in taken.read_bytes()
            # Dave's own name is good for who asks nobody: the same page, the same password, and he has it.
            naive = Jupyter(session["tunnel"]["url"], PASSWORD, str(home_of(siege.cluster, "dave") / "crt.pem"))
            assert naive.tls and PASSWORD.encode() in taken.read_bytes()
