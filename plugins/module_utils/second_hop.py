# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways from a socket on the login node to a server on a compute node.

Interface: ``SshHop``, ``LocalHop`` and ``StepHop``, each with ``start()``, ``alive()``, ``stop()`` and ``said()``.
A hop makes the socket at ``path`` (0600, in a directory that the caller has made private), and takes it away when it ends.
"""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

from . import files, places

_PR_SET_PDEATHSIG = 1
# Time for an ssh to end after SIGTERM, in seconds.
_GRACE = 3.0


class HopError(Exception):
    """A hop can't even be tried; the message says why."""


def _die_with_parent():
    """Have the kernel end this child when its parent dies, even by SIGKILL. Linux only; elsewhere stdin has to do."""
    try:
        import ctypes  # missing from Pythons that were built without libffi
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    except (ImportError, OSError, AttributeError):
        pass


def far_end(endpoint, node):
    """Return an endpoint in the spelling of ssh's ``-L``, as seen on its node.

    :param endpoint: dict of server.json.
    :raises HopError: for an endpoint that can't be one.
    """
    if endpoint.get("kind") == "socket":
        path = str(endpoint.get("path", ""))
        if not re.match(r"\A/[^\s:\x00-\x1f]+\Z", path):
            raise HopError("the server's socket %s is no path that ssh can forward to" % files.printable(path))
        return path
    address = str(endpoint.get("address") or "127.0.0.1")
    port = int(endpoint.get("port") or 0)
    if not places.HOST_NAME.match(address.strip("[]")) and address != "::1" or not 0 < port < 65536:
        raise HopError("the server's address %s port %d can't be used" % (files.printable(address), port))
    return "%s:%d" % ("[%s]" % address if ":" in address else address, port)


class _ChildHop(object):
    """A hop that lives in a child process; it ends with the child's standard input, too."""

    def __init__(self, path):
        self.path = path
        self.child = None
        self.errors = None

    def _spawn(self, argv, stdout):
        # A file, for a pipe would have to be read all the time.
        self.errors = tempfile.TemporaryFile()
        self.child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=stdout, stderr=self.errors, preexec_fn=_die_with_parent, close_fds=True
        )

    def alive(self):
        """Return whether the child still runs."""
        return self.child is not None and self.child.poll() is None

    def said(self):
        """Return the end of what the child wrote to its standard error."""
        if self.errors is None:
            return ""
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - 20000))
        return files.printable(self.errors.read(), limit=20000)

    def stop(self):
        """End the child and remove the socket; never raises for a child that is gone."""
        if self.child is not None:
            try:
                self.child.stdin.close()
            except OSError:
                pass
            for number in (signal.SIGTERM, signal.SIGKILL):
                if self.child.poll() is None:
                    self.child.send_signal(number)
                    try:
                        self.child.wait(_GRACE)
                    except subprocess.TimeoutExpired:
                        continue
            if self.child.stdout is not None:
                self.child.stdout.close()
            self.child = None
        if self.errors is not None:
            self.errors.close()
            self.errors = None
        files.remove(self.path)


class SshHop(_ChildHop):
    """ssh from here to the node.

    :param node: str, host name.
    :param endpoint: dict, the endpoint in server.json.
    :param path: str, the socket to make here.
    :param host_keys: "strict" leaves StrictHostKeyChecking to the user's configuration, where an unknown key then fails,
        for nobody can be asked; "accept-new" takes the key of a node never seen before.
    :param command: str, the ssh to run.
    """

    name = "ssh"

    def __init__(self, node, endpoint, path, host_keys="strict", command="ssh"):
        super(SshHop, self).__init__(path)
        if not places.HOST_NAME.match(node):
            raise HopError("%s is no host name" % files.printable(node))
        self.argv = [command, "-a", "-x", "-T"]
        options = [
            "BatchMode=yes",
            "ExitOnForwardFailure=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=3",
            "StreamLocalBindUnlink=yes",
            "StreamLocalBindMask=0177",
            # A master of the user's own would keep the forward when this ssh ends.
            "ControlMaster=no",
            "ControlPath=none",
            "LogLevel=INFO",
        ]
        if host_keys == "accept-new":
            options.append("StrictHostKeyChecking=accept-new")
        for option in options:
            self.argv += ["-o", option]
        # `cat` ends with its standard input, and with it this ssh: `ssh -N` would be orphaned.
        self.argv += ["-L", "%s:%s" % (path, far_end(endpoint, node)), node, "cat"]

    def start(self):
        """Start ssh; the socket appears once it is logged in."""
        files.remove(self.path)
        self._spawn(self.argv, subprocess.DEVNULL)


def _pump(source, sink, done):
    """Carry bytes one way until either side ends."""
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
    except OSError:
        pass
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    done()


def listen(path):
    """Return a listening unix socket at a path, 0600 from its first moment."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        files.remove(path)
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(old)
    listener.listen(64)
    return listener


def _thread(target, *arguments):
    thread = threading.Thread(target=target, args=arguments)
    thread.daemon = True
    thread.start()
    return thread


def connect_endpoint(endpoint):
    """Connect to an endpoint of this very host.

    :raises OSError: when it does not answer.
    """
    if endpoint.get("kind") == "socket":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(endpoint["path"]))
        except BaseException:
            connection.close()
            raise
        return connection
    return socket.create_connection((str(endpoint.get("address") or "127.0.0.1"), int(endpoint["port"])), 10)


class LocalHop(object):
    """The server is on this very host: carry the bytes ourselves.

    :param endpoint: dict, the endpoint in server.json.
    :param path: str, the socket to make here.
    """

    name = "local"

    def __init__(self, endpoint, path):
        self.endpoint = endpoint
        self.path = path
        self.listener = None
        self._open = set()

    def start(self):
        """Listen at the path.

        :raises OSError: when it can't be bound.
        """
        self.listener = listen(self.path)
        _thread(self._accept, self.listener)

    def _accept(self, listener):
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            try:
                far = connect_endpoint(self.endpoint)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            self._open.update((near, far))
            if self.listener is not listener:
                # Stopped between accept() and here, so that it is ours to cut.
                near.close()
                far.close()
                return
            self._carry(near, far)

    def _carry(self, near, far):
        left = [2]
        lock = threading.Lock()

        def done():
            with lock:
                left[0] -= 1
                if left[0]:
                    return
            for end in (near, far):
                self._open.discard(end)
                end.close()

        _thread(_pump, near, far, done)
        _thread(_pump, far, near, done)

    def alive(self):
        """Return whether it listens."""
        return self.listener is not None

    def said(self):
        """Return nothing: there is no other process that could say something."""
        return ""

    def stop(self):
        """Stop listening, cut what is open, and remove the socket."""
        if self.listener is not None:
            # close() alone would leave the thread in accept().
            try:
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.listener.close()
            self.listener = None
        for end in list(self._open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        files.remove(self.path)


# -- a step of the job -----------------------------------------------------------------------
# Where nodes take no ssh, the scheduler can run a step in the job, and a step has a standard input and output. All
# connections share them: frames of a connection number, a kind and a length, then that many bytes.

_FRAME = struct.Struct("!IcI")
_OPEN, _DATA, _END, _CLOSE = b"O", b"D", b"E", b"C"
_HELLO = b"hpc.jupyter step 1\n"


class Multiplexer(object):
    """Carries many connections over one pair of pipes.

    A reader that stalls holds up the others on the same way: one laptop's browser, so that does no harm.

    :param read: callable(size) -> bytes, b"" at the end.
    :param write: callable(bytes), writes all.
    :param connect: callable() -> socket for a connection that the other side opens, or None where none may be.
    """

    def __init__(self, read, write, connect=None):
        self._read_some = read
        self._write_all = write
        self._connect = connect
        self._lock = threading.Lock()
        self._ends = {}
        self._half = set()
        # Not the one for writing: who delivers must never wait for who writes, or two full pipes would wait for each other.
        self._half_lock = threading.Lock()
        self._next = 0

    def _send(self, number, kind, data=b""):
        with self._lock:
            self._write_all(_FRAME.pack(number, kind, len(data)) + data)

    def _receive(self, size):
        parts = []
        while size:
            data = self._read_some(size)
            if not data:
                raise EOFError
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def add(self, connection):
        """Carry a new connection from this side."""
        with self._lock:
            self._next += 1
            number = self._next
        self._ends[number] = connection
        self._send(number, _OPEN)
        _thread(self._forward, number, connection)

    def _forward(self, number, connection):
        try:
            while True:
                data = connection.recv(32768)
                if not data:
                    break
                self._send(number, _DATA, data)
            self._send(number, _END)
            self._ended(number)
        except OSError:
            self._send_close(number)

    def _send_close(self, number):
        try:
            self._send(number, _CLOSE)
        except OSError:
            pass

    def run(self):
        """Deliver what comes from the other side, until it ends; then cut every connection."""
        try:
            while True:
                number, kind, size = _FRAME.unpack(self._receive(_FRAME.size))
                self._deliver(number, kind, self._receive(size))
        except (EOFError, OSError, ValueError):
            pass
        finally:
            for connection in list(self._ends.values()):
                _cut(connection)
            self._ends.clear()

    def _deliver(self, number, kind, data):
        if kind == _OPEN:
            if self._connect is None:
                return
            try:
                connection = self._connect()
            except OSError:
                _thread(self._send_close, number)
                return
            connection.settimeout(None)
            self._ends[number] = connection
            _thread(self._forward, number, connection)
            return
        connection = self._ends.get(number)
        if connection is None:
            return
        if kind == _DATA:
            try:
                connection.sendall(data)
            except OSError:
                self._ends.pop(number, None)
                _cut(connection)
                _thread(self._send_close, number)
        elif kind == _END:
            try:
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self._ended(number)
        else:
            self._ends.pop(number, None)
            self._half.discard(number)
            _cut(connection)

    def _ended(self, number):
        """Count the end of one direction; a connection goes with its second."""
        with self._half_lock:
            first = number not in self._half
            (self._half.add if first else self._half.discard)(number)
        if not first:
            connection = self._ends.pop(number, None)
            if connection is not None:
                connection.close()


def _cut(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


def _write_to(descriptor):
    def write(data):
        while data:
            data = data[os.write(descriptor, data):]
    return write


def serve_step(endpoint):
    """The node's side: carry connections from standard input to the endpoint, until that ends.

    :param endpoint: dict, the endpoint in server.json.
    """
    write = _write_to(1)
    write(_HELLO)
    Multiplexer(lambda size: os.read(0, size), write, lambda: connect_endpoint(endpoint)).run()


class StepHop(_ChildHop):
    """A step of the job itself (``srun --overlap``) carries the bytes.

    :param job: str, its id.
    :param node: str.
    :param endpoint: dict, the endpoint in server.json.
    :param path: str, the socket to make here.
    :param facts: dict, site.json: the path of srun, the batch directory's Python.
    :param program: str, path of program.pyz, which the node can read.
    """

    name = "step"

    def __init__(self, job, node, endpoint, path, facts, program):
        super(StepHop, self).__init__(path)
        if not re.match(r"\A[0-9]+\Z", job) or not places.HOST_NAME.match(node):
            raise HopError("job %s on %s can't have a step" % (files.printable(job), files.printable(node)))
        far_end(endpoint, node)
        self.listener = None
        self._mux = None
        srun = (facts.get("commands") or {}).get("srun") or "srun"
        # On the node: whatever Python is there, the program from the shared home, the endpoint as an argument that is no secret.
        code = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "import json\n"
            "from hpc_jupyter.second_hop import serve_step\n"
            "serve_step(json.loads(sys.argv[2]))"
        )
        where = dict((key, endpoint.get(key)) for key in ("kind", "path", "address", "port"))
        python = os.path.join(os.path.dirname(program), "python")
        self.argv = [
            srun, "--jobid=" + job, "--overlap", "--nodelist=" + node, "--nodes=1", "--ntasks=1", "--quiet", "--unbuffered",
            "--immediate=10", "--mem=0", "--cpus-per-task=1", "--gres=none",
            python if os.path.exists(python) else facts.get("python") or sys.executable, "-c", code, program, json.dumps(where),
        ]

    def start(self):
        """Start the step; the socket appears once its other side has spoken."""
        files.remove(self.path)
        self._spawn(self.argv, subprocess.PIPE)
        _thread(self._run, self.child)

    def _run(self, child):
        source = child.stdout.fileno()
        # What the node's shell start-up prints comes before the first frame.
        seen = b""
        while not seen.endswith(_HELLO):
            try:
                data = os.read(source, 1)
            except OSError:
                return
            if not data:
                return
            seen = (seen + data)[-4096:]
        self._mux = Multiplexer(lambda size: os.read(source, size), _write_to(child.stdin.fileno()))
        try:
            self.listener = listen(self.path)
        except OSError:
            child.terminate()
            return
        _thread(self._accept, self.listener, self._mux)
        self._mux.run()

    @staticmethod
    def _accept(listener, mux):
        while True:
            try:
                mux.add(listener.accept()[0])
            except OSError:
                return

    def stop(self):
        """End the step and remove the socket."""
        if self.listener is not None:
            try:
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.listener.close()
            self.listener = None
        super(StepHop, self).stop()
