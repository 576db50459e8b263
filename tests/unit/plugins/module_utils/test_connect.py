# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connect tool: its directory, its launcher, the hops that need no second host."""

import fcntl
import json
import os
import pathlib
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import types
import zipfile

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import connect, connect_launcher, second_hop
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import Failure
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.session_maker import make_session


@pytest.mark.parametrize("trap", ["link", "file", "open"])
def test_a_relay_directory_that_is_not_ours_alone_is_refused(tmp_path, trap):
    path = tmp_path / "relay"
    if trap == "link":
        path.symlink_to(tmp_path)
    elif trap == "file":
        path.write_text("")
    else:
        path.mkdir()
        path.chmod(0o755)
    with pytest.raises(Failure):
        connect.make_relay_dir(str(path))


def test_a_relay_directory_is_made_private_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        connect.make_relay_dir(str(tmp_path / "relay"))
        connect.make_relay_dir(str(tmp_path / "relay"))
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(str(tmp_path / "relay")).st_mode) == 0o700


class Said:
    """Takes in what a relay says."""

    def __init__(self):
        self.said = []

    def say(self, event, text, **more):
        self.said.append((event, text, more.get("cause")))

    def beat(self):
        pass


def test_a_relay_whose_directory_is_full_says_which_one(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(connect.Relay, "_take_lock", full)
    said = Said()
    assert connect.Relay(make_session(tmp_path, {}), str(tmp_path / "relay/s.sock"), said).run() == connect.NO_SOCKET
    assert said.said == [("error", said.said[0][1], "relay-dir")]
    assert "relay/s.sock can't be made: No space left" in said.said[0][1] and "jupyter_relay_dir" in said.said[0][1]


def test_a_shared_home_that_can_not_be_read_ends_a_relay_only_before_it_is_connected(tmp_path, monkeypatch):
    session, said = make_session(tmp_path, {}), Said()
    relay = connect.Relay(session, str(tmp_path / "relay/s.sock"), said)
    ways = []

    def unreadable():
        ways.append(relay.connected_once)
        if len(ways) == 3:
            return 0
        raise OSError(5, "Input/output error", "record.json")

    monkeypatch.setattr(relay, "_follow", unreadable)
    monkeypatch.setattr(relay, "pause", lambda _seconds: None)
    assert relay.run() == connect.NO_SOCKET and ways == [False]
    assert said.said[-1][0] == "error" and "record.json: Input/output error. Nothing was connected." in said.said[-1][1]
    relay.connected_once = True
    assert relay.run() == 0 and ways == [False, True, True]
    assert said.said[-1][:2] == ("lost", "the session's files can't be read (Input/output error); trying again")


def test_each_relay_takes_the_socket_over_from_the_one_before(tmp_path):
    """Flaky network: the second waits for the first to end, and the third comes in the meantime."""
    path = str(tmp_path / "relay" / "s.sock")
    code = (
        "import os, signal, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from module_utils import connect\n"
        "signal.signal(signal.SIGTERM, connect._end)\n"
        "relay = connect.Relay(None, sys.argv[1], None)\n"
        "try:\n"
        "    relay.claim()\n"
        "    print('has it', flush=True)\n"
        "    relay.pause(60)\n"
        "except connect.Ended:\n"
        "    relay.release()\n")
    plugins = str(pathlib.Path(connect.__file__).resolve().parents[1])
    relays = []
    try:
        for _relay in range(4):
            relays.append(subprocess.Popen(
                [sys.executable, "-c", code, path, plugins], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            assert relays[-1].stdout.readline() == b"has it\n"
            for before in relays[:-1]:
                assert before.wait(10) == 0, "one of those before lives on"
            assert os.path.exists(path + ".lock"), "who comes next finds no lock"
    finally:
        for relay in relays:
            relay.stdin.close()
            relay.wait(10)
            relay.stdout.close()
    assert not os.listdir(str(tmp_path / "relay"))


def test_a_lock_that_was_taken_away_meanwhile_is_none(tmp_path, monkeypatch):
    path = str(tmp_path / "relay" / "s.sock")
    flock = fcntl.flock

    def the_holder_ends_just_now(lock, how):
        monkeypatch.setattr(connect.fcntl, "flock", flock)
        os.unlink(path + ".lock")
        flock(lock, how)

    monkeypatch.setattr(connect.fcntl, "flock", the_holder_ends_just_now)
    near, far = os.pipe()
    relay = connect.Relay(None, path, None, stdin=near)
    try:
        relay.claim()
        assert os.stat(path + ".lock").st_ino == os.fstat(relay.lock).st_ino
    finally:
        relay.release()
        os.close(near)
        os.close(far)


# -- the launcher --------------------------------------------------------------------------


@pytest.fixture
def launcher(tmp_path):
    """Write a launcher whose program prints how it was called."""

    def make(python=sys.executable, hint="ssh login"):
        batch = tmp_path / "it's a dir; $(false)"
        batch.mkdir(exist_ok=True)
        program = batch / "program.pyz"
        with zipfile.ZipFile(str(program), "w") as archive:
            archive.writestr("__main__.py", "import sys; print(sys.argv[1:]); print(sys.stdin.read())")
        path = tmp_path / "connect"
        path.write_text(connect_launcher.render(python, str(program), str(batch), hint))
        path.chmod(0o700)
        return str(path), str(batch)

    return make


def run(*words, **more):
    return subprocess.run(list(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=30, check=False, **more)


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_the_launcher_hands_on_arguments_and_standard_input(launcher, shell):
    path, batch = launcher()
    done = run(shell, path, "a b", "--x", input="sign of life")
    assert done.stdout == "['connect', '--batch-dir', %r, 'a b', '--x']\nsign of life\n" % batch


def test_the_launcher_finds_another_python_when_the_recorded_one_is_gone(launcher, tmp_path):
    path, _batch = launcher(python="/gone/python3")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    done = run("/bin/sh", path, input="", env={"PATH": "%s:/usr/bin:/bin" % (tmp_path / "bin")})
    assert "'connect'" in done.stdout


def test_the_launcher_says_what_is_missing(launcher, tmp_path):
    path, batch = launcher(python="/gone/python3")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "hostname").symlink_to(shutil.which("hostname"))
    done = run("/bin/sh", path, input="", env={"PATH": str(tools)})
    # A platform-python may be there on some systems; then it is rightly found.
    if not os.path.exists("/usr/libexec/platform-python"):
        assert done.returncode == 127 and "no Python 3.6 or newer" in done.stdout and "setup" in done.stdout
    os.unlink(os.path.join(batch, "program.pyz"))
    done = run("/bin/sh", path, input="")
    assert done.returncode == 127 and "program.pyz is missing" in done.stdout


@pytest.mark.parametrize("damage", [lambda data: data[:len(data) // 2], lambda data: b"", lambda data: b"\0" * len(data)], ids=["cut", "empty", "zeros"])
def test_the_launcher_says_what_is_damaged(launcher, damage):
    path, batch = launcher()
    program = os.path.join(batch, "program.pyz")
    with open(program, "rb") as stream:
        whole = stream.read()
    with open(program, "wb") as stream:
        stream.write(damage(whole))
    done = run("/bin/sh", path, input="")
    assert done.returncode == 127
    assert done.stdout == "jupyter: %s is damaged. Run 'ansible-playbook hpc.jupyter.setup' again.\n" % program


def test_a_hint_stays_a_comment(launcher):
    path, _batch = launcher(hint="ssh login\necho evil\r\necho worse")
    assert "evil" not in run("/bin/sh", path, input="").stdout
    with open(path) as stream:
        assert "#     ssh login\n" in stream.read()


# -- hops ----------------------------------------------------------------------------------


@pytest.fixture
def echo(tmp_path):
    """A server at a unix socket that sends back all it gets, after its client ended."""
    path = str(tmp_path / "echo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)

    def answer(connection):
        data = b""
        while True:
            piece = connection.recv(65536)
            if not piece:
                break
            data += piece
        try:
            connection.sendall(data)
        except OSError:
            # The test cut it.
            pass
        connection.close()

    def serve():
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield {"kind": "socket", "path": path}
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def say(path, data):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(path)

    def send():
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    threading.Thread(target=send, daemon=True).start()
    back = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            connection.close()
            return back
        back += piece


def test_a_server_on_this_host_is_reached_through_a_private_socket(tmp_path, echo):
    hop = second_hop.LocalHop(echo, str(tmp_path / "relay"))
    hop.start()
    assert stat.S_IMODE(os.stat(hop.path).st_mode) == 0o600
    assert say(hop.path, b"x" * 1000000) == b"x" * 1000000
    hop.stop()
    assert not os.path.exists(hop.path)


def test_a_connection_that_is_cut_ends_at_both_sides(tmp_path, echo):
    hop = second_hop.LocalHop(echo, str(tmp_path / "relay"))
    hop.start()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(hop.path)
    connection.settimeout(10)
    connection.sendall(b"half")
    hop.stop()
    try:
        assert connection.recv(10) == b""
    except ConnectionResetError:
        # What was still on its way makes the end a reset.
        pass
    connection.close()


@pytest.fixture
def step(echo):
    """Both ends of a step, with pipes in place of srun; returns how to connect."""
    to_node, to_login = os.pipe(), os.pipe()

    def reader(descriptor):
        return lambda size: os.read(descriptor, size)

    node = second_hop.Multiplexer(
        reader(to_node[0]), second_hop._write_to(to_login[1]), lambda: second_hop.connect_endpoint(echo))
    login = second_hop.Multiplexer(reader(to_login[0]), second_hop._write_to(to_node[1]))
    threads = [threading.Thread(target=mux.run, daemon=True) for mux in (node, login)]
    for thread in threads:
        thread.start()
    yield login
    os.close(to_node[1])
    threads[0].join(10)
    os.close(to_login[1])
    threads[1].join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_a_step_carries_many_connections_at_once(step, tmp_path):
    listener = second_hop.listen(str(tmp_path / "relay"))
    threading.Thread(target=second_hop.StepHop._accept, args=(listener, step), daemon=True).start()
    sent = [os.urandom(300000 + number) for number in range(8)]
    got = [None] * len(sent)

    def talk(number):
        got[number] = say(str(tmp_path / "relay"), sent[number])

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(len(sent))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    assert got == sent
    # The last end may still be on its way.
    deadline = time.monotonic() + 10
    while step._ends and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not step._ends


@pytest.mark.parametrize(("node", "endpoint"), [
    ("-oProxyCommand=evil", {"kind": "socket", "path": "/s"}), ("n", {"kind": "socket", "path": "relative"}),
    ("n", {"kind": "socket", "path": "/a:b"}), ("n", {"kind": "tls", "address": "-x", "port": 1}), ("n", {"kind": "tls", "port": 0}),
])
def test_an_odd_server_file_never_reaches_ssh(node, endpoint):
    with pytest.raises(second_hop.HopError):
        second_hop.SshHop(node, endpoint, "/tmp/x")


def test_the_second_hop_never_asks_and_never_loosens_host_keys():
    argv = second_hop.SshHop("node1", {"kind": "socket", "path": "/s"}, "/tmp/x").argv
    assert "BatchMode=yes" in argv and argv[-2:] == ["node1", "cat"]
    assert not any("HostKey" in word for word in argv)


@pytest.mark.parametrize("interval, most", [(0, 66), (300, 12)])
def test_a_relay_that_waits_asks_the_scheduler_as_rarely_as_the_site_wants(tmp_path, monkeypatch, interval, most):
    session = make_session(tmp_path, {"job": "1"}, base.Job("1", state=base.QUEUED), poll_interval=interval)
    relay = connect.Relay(session, str(tmp_path / "s"), None)
    for second in range(3600):
        monkeypatch.setattr(connect, "time", types.SimpleNamespace(time=lambda now=second: 1000000.0 + now))
        relay.look(ask=True)
    asked = [one for one in session.scheduler.asked if one[0] == "look"]
    assert 10 < len(asked) <= most


def test_a_relay_to_a_session_that_does_not_run_says_how_that_one_is_started(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(connect.signal, "signal", lambda *_: None)
    (tmp_path / "site.json").write_text('{"scheduler": "slurm", "relay_dir": "%s"}' % (tmp_path / "relay"))
    assert connect.main(["connect", "big", "--socket", str(tmp_path / "relay/s"), "--batch-dir", str(tmp_path)]) == connect.NOT_RUNNING
    assert "'ansible-playbook hpc.jupyter.launch -e jupyter_session=big' on the laptop" in capsys.readouterr().out


RECORDED = (
    "ssh -F cfg -a -x -L 127.0.0.1:%d:/r/default-manual.sock carol@login.example.org '~/.jupyter_connect' default --start "
    "--socket /r/default-manual.sock")


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """Return a function that runs the connect tool for a session that does not run, without a terminal; it returns what is printed."""
    monkeypatch.setattr(connect.signal, "signal", lambda *_: None)

    def typed(*words, **facts):
        (tmp_path / "site.json").write_text(json.dumps(dict({"scheduler": "slurm", "relay_dir": str(tmp_path / "relay")}, **facts)))
        assert connect.main(["connect"] + list(words) + ["--batch-dir", str(tmp_path)]) == connect.NOT_RUNNING
        return capsys.readouterr().out

    return typed


def test_what_is_typed_on_the_laptop_is_what_setup_recorded(typed):
    said = typed(connect_hint=RECORDED % 9001 + "\n\nhttp://127.0.0.1:9001/")
    assert "    %s\n" % (RECORDED % 9001) in said and "open http://127.0.0.1:9001/ there" in said


def test_it_is_recorded_for_another_session_too(typed):
    assert "    %s\n" % (RECORDED % 8888).replace("default", "big") in typed("big", connect_hint=RECORDED % 8888)


@pytest.mark.parametrize("words, hint", [(("big",), "~/my-way"), ((), "")])
def test_where_nothing_was_recorded_the_host_says_its_own_name(typed, words, hint):
    said = typed(*words, connect_hint=hint)
    name = words[0] if words else "default"
    assert "ssh -L 127.0.0.1:8888:" in said and "'~/.jupyter_connect' %s --start --socket" % name in said
