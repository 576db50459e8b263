# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every site shape does what it says, and really refuses what it says it refuses."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
from typing import Iterator

import pytest
from conftest import Cluster, wait_for

PORT = 8888
# A server on the node that says its name; and a client that prints what a server says.
SERVE = ("setsid python3 -c 'import http.server,os; os.chdir(\"/tmp\"); open(\"name\",\"w\").write(os.uname().nodename); "
         "http.server.HTTPServer((\"\", %d), http.server.SimpleHTTPRequestHandler).serve_forever()' "
         ">/dev/null 2>&1 </dev/null &" % PORT)
FETCH = ("python3 -c 'import urllib.request,sys; print(urllib.request.urlopen(\"http://%s:%d/name\", timeout=5)"
         ".read().decode())'")


def fetch(cluster: Cluster, host: str, target: str) -> "subprocess.CompletedProcess[str]":
    return cluster.run_as("carol", host, FETCH % (target, PORT))


def serve(cluster: Cluster, node: str) -> None:
    assert cluster.run_as("carol", node, SERVE).returncode == 0
    wait_for(lambda: fetch(cluster, node, "127.0.0.1").stdout.strip() == node, "a server on " + node)


def inner_ssh(cluster: Cluster, host: str, target: str) -> "subprocess.CompletedProcess[str]":
    return cluster.run_as("carol", host, "ssh -o BatchMode=yes -o ConnectTimeout=5 %s hostname" % target)


def connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 3).close()
    except OSError:
        return False
    return True


class Forward:
    """The laptop's `ssh -L` to a node's port through the login node; `get` tries it."""

    def __init__(self, cluster: Cluster, target: str, directory: pathlib.Path, *options: str) -> None:
        self.socket = str(directory / "forward")
        self.errors = directory / "errors"
        with open(self.errors, "w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                cluster.ssh_command("-N", "-L", "%s:%s" % (self.socket, target), *options, "login"),
                stdin=subprocess.DEVNULL, stderr=errors)

    def get(self) -> str:
        def tried() -> str:
            return "open" if os.path.exists(self.socket) else "gone" if self.process.poll() is not None else ""
        assert wait_for(tried, "the local end of the forward") == "open", self.errors.read_text()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.socket)
            connection.sendall(b"GET /name HTTP/1.0\r\n\r\n")
            received = b""
            try:
                while True:
                    piece = connection.recv(4096)
                    if not piece:
                        break
                    received += piece
            except ConnectionResetError:
                pass
        return received.decode().rpartition("\r\n\r\n")[2].strip()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def forward(tmp_path: pathlib.Path) -> Iterator[object]:
    opened = []

    def make(cluster: Cluster, target: str, *options: str) -> Forward:
        opened.append(Forward(cluster, target, tmp_path, *options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_jump_only(cluster: Cluster, forward) -> None:
    cluster.up("jump-only")
    serve(cluster, "node1")
    node = cluster.status()["addresses"]["inside"]["node1"]
    assert not connects(node, 22)
    assert not connects(node, PORT)
    assert cluster.ssh("-o", "ProxyJump=none", "node1", "hostname").returncode == 255
    assert cluster.ssh("node1", "hostname").stdout == "node1\n"
    assert inner_ssh(cluster, "login", "node1").stdout == "node1\n"
    assert forward(cluster, "node1:%d" % PORT).get() == "node1"


def test_open(cluster: Cluster) -> None:
    cluster.up("open")
    serve(cluster, "node1")
    node = cluster.status()["addresses"]["inside"]["node1"]
    assert "proxyjump" not in cluster.ssh("-G", "node1").stdout
    assert cluster.ssh("node1", "hostname").stdout == "node1\n"
    assert connects(node, PORT)


def test_direct_only(cluster: Cluster, forward) -> None:
    cluster.up("direct-only")
    serve(cluster, "node1")
    assert not connects(cluster.status()["addresses"]["inside"]["node1"], 22)
    assert "refused" in inner_ssh(cluster, "login", "node1").stderr
    assert cluster.ssh("node1", "hostname").returncode == 255
    assert fetch(cluster, "login", "node1").stdout.strip() == "node1"
    assert forward(cluster, "node1:%d" % PORT).get() == "node1"


def test_reverse_only(cluster: Cluster, forward) -> None:
    cluster.up("reverse-only")
    serve(cluster, "node1")
    assert "refused" in inner_ssh(cluster, "login", "node1").stderr
    assert cluster.ssh("node1", "hostname").returncode == 255
    assert fetch(cluster, "login", "node1").returncode != 0
    assert forward(cluster, "node1:%d" % PORT).get() == ""
    assert inner_ssh(cluster, "node1", "login").stdout == "login\n"
    # The nodes among themselves, and the scheduler, are no part of the refusal.
    assert fetch(cluster, "node2", "node1").stdout.strip() == "node1"
    assert cluster.run_as("carol", "login", "srun -N2 hostname | sort").stdout.split() == ["node1", "node2"]


def test_otp(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    cluster.up("otp")
    with_code = {"env": dict(os.environ, SSH_ASKPASS=cluster.state + "/askpass", SSH_ASKPASS_REQUIRE="force")}
    asks = ["-o", "NumberOfPasswordPrompts=1"]

    # The key alone, as Ansible tries it, is not enough.
    alone = cluster.ssh("-o", "KbdInteractiveAuthentication=no", "login", "hostname")
    assert alone.returncode == 255 and "Permission denied (keyboard-interactive)" in alone.stderr
    assert cluster.verb("sshd-log", "login", "--count").stdout == "0\n"

    assert cluster.ssh(*asks, "login", "hostname", **with_code).stdout == "login\n"
    assert cluster.verb("sshd-log", "login", "--count").stdout == "1\n"

    # A code is good once.
    used = tmp_path / "used"
    used.write_text("#!/bin/sh\necho %s\n" % cluster.verb("otp", "carol").stdout.strip())
    used.chmod(0o700)
    same = {"env": dict(os.environ, SSH_ASKPASS=str(used), SSH_ASKPASS_REQUIRE="force")}
    assert cluster.ssh(*asks, "login", "hostname", **same).stdout == "login\n"
    assert cluster.ssh(*asks, "login", "hostname", **same).returncode == 255

    # A second session over an open connection is refused (MaxSessions 1).
    control = str(tmp_path / "control")
    master = subprocess.Popen(cluster.ssh_command(*asks, "-M", "-S", control, "login", "cat"), stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, **with_code)
    try:
        wait_for(lambda: os.path.exists(control), "the control socket")
        second = cluster.ssh("-S", control, "-o", "KbdInteractiveAuthentication=no", "login", "hostname")
        assert second.returncode == 255 and "Session open refused by peer" in second.stderr
    finally:
        master.communicate()

    # Jobs have nobody to type a code: from the nodes the user's key is enough.
    assert inner_ssh(cluster, "node1", "login").stdout == "login\n"
    assert inner_ssh(cluster, "login", "node1").stdout == "node1\n"


def test_no_forward(cluster: Cluster, forward) -> None:
    cluster.up("no-forward")
    serve(cluster, "node1")
    assert cluster.ssh("login", "hostname").stdout == "login\n"
    refused = forward(cluster, "node1:%d" % PORT)
    assert refused.get() == ""
    assert "administratively prohibited" in refused.errors.read_text()
    assert "administratively prohibited" in cluster.ssh("node1", "hostname").stderr
    to_socket = cluster.ssh("-N", "-o", "ExitOnForwardFailure=yes", "-R", "/home/carol/s:localhost:22", "login")
    assert to_socket.returncode == 255 and "remote port forwarding failed" in to_socket.stderr
    # A second hop run on the login node is what still works.
    assert cluster.ssh("login", "ssh node1 sh", stdin=FETCH % ("127.0.0.1", PORT)).stdout.strip() == "node1"


def test_no_forward_of_sockets(cluster: Cluster, forward) -> None:
    cluster.up("no-forward")
    listen = "socat UNIX-LISTEN:s,fork SYSTEM:'echo here' </dev/null >/dev/null 2>&1 & until [ -S s ]; do sleep 0.1; done"
    assert cluster.ssh("login", listen).returncode == 0
    refused = forward(cluster, "/home/carol/s")
    assert refused.get() == ""
    assert "refused streamlocal port forward" in cluster.verb("sshd-log", "login").stdout


def test_login_path(cluster: Cluster) -> None:
    cluster.up("login-path")
    for command in ("qsub", "sbatch", "squeue"):
        assert cluster.ssh("login", command).returncode == 127
    assert cluster.ssh("login", "ls /usr/bin/qsub").returncode == 2
    # The wrapper qsub must find its way without the default PATH, too.
    script = "printf '#!/bin/sh\\nsort -u $PBS_NODEFILE\\n' > job.sh; qsub -l nodes=2:ppn=1 -o out -j oe job.sh >/dev/null &&" \
             " until [ -s out ]; do sleep 0.1; done; cat out"
    assert cluster.ssh("login", "bash -l", stdin=script).stdout.split() == ["node1", "node2"]


def test_shapes_combine(cluster: Cluster) -> None:
    cluster.up("reverse-only,no-forward,login-path")
    assert cluster.status()["shape"] == "reverse-only,no-forward,login-path"
    assert cluster.ssh("login", "qsub").returncode == 127
    assert "refused" in inner_ssh(cluster, "login", "node1").stderr


@pytest.mark.parametrize("shape", ["open,jump-only", "closed"])
def test_a_shape_that_does_not_exist(cluster: Cluster, shape: str) -> None:
    done = cluster.verb("up", "--shape", shape, check=False)
    assert done.returncode == 1 and shape in done.stderr
    assert not cluster.leftovers()
